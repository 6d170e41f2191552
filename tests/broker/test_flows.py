"""Whole flows whose steps reach the outside, as far as the set of the folder and the flow let them."""

import json
import socket
import sys
import threading

import pytest
from servers import answer
from worker.projects import add_plugin

from dataflare.errors import ConfigError
from dataflare_flow import Flow
from dataflare_host import Host

ASKED = """\
[permissions]
http = [{ host = "127.0.0.1", methods = ["GET"], reason = "orders" }]
secrets = [{ name = "shop", inject = "http-header:X-Key@127.0.0.1", schemes = ["http"], reason = "sign in" }]
inputs = [{ name = "lines", kinds = ["tcp"], reason = "orders as they come" }]
"""
CODE = """\
from dataflare import Context, source


@source
def orders(ctx: Context, position: int = 0, *, url: str, pages: int = 3):
    "Pages of a service."
    while position < pages:
        told = ctx.http.get(url, params={"page": position}).checked().json()
        position += 1
        yield told, position


@source(rows={"text": str})
def lines(ctx: Context):
    "Lines as they come."
    stream, rest = ctx.input("lines"), b""
    while not stream.ended:
        *whole, rest = (rest + stream.recv(4096, 0.2)).split(b"\\n")
        if whole:
            yield [{"text": line.decode()} for line in whole]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the plugin `shop` in its set; ``grants`` is the operator's TOML."""
    monkeypatch.setenv("DATAFLARE_SECRET_SHOP", "s3cr3t-key")
    (tmp_path / "shop.py").write_text(CODE)
    ids = []

    def run(flow, grants="{}", more="", isolation="inline"):
        (tmp_path / "plugins.toml").unlink(missing_ok=True)
        ids.append(f"shop-{tmp_path.name.replace('_', '-')}-{len(ids)}")
        add_plugin(tmp_path, ids[-1], CODE, isolation=isolation, more=ASKED)
        with (tmp_path / "plugins.toml").open("a") as file:
            file.write(f"grants = {grants}\n{more}")
        flow = json.loads(json.dumps(flow).replace('"shop/', f'"{ids[-1]}/'))
        (tmp_path / "flow.yaml").write_text(json.dumps(flow))
        with Host.start() as host:
            host.enter(tmp_path)
            outcome = Flow.load(tmp_path / "flow.yaml").run(host=host)
        rows = [json.loads(line) for file in tmp_path.glob("out/*.jsonl") for line in file.read_text().splitlines()]
        return outcome, rows

    yield run
    packages = tuple(f"dataflare_{id.replace('-', '_')}" for id in ids)
    for name in [name for name in sys.modules if name.startswith(packages)]:
        del sys.modules[name]


def flow(uses, grants=None, **config):
    step = {"uses": uses, "with": config, **({"grants": grants} if grants else {})}
    sink = {"uses": "std/files", "from": "orders", "with": {"path": "out/", "format": "jsonl"}}
    return {"version": 1, "name": "shop", "sources": {"orders": step}, "sinks": {"out": sink}}


def pages(connection, asked):
    page = int(asked.target.rpartition("=")[2])
    connection.sendall(answer(200, json.dumps([{"page": page, "n": n} for n in range(2)]).encode()))


OPEN = '{ http = [{ networks = ["127.0.0.0/8"] }], secrets = [{}], inputs = [{}] }'
ROWS = [{"page": page, "n": n} for page in range(3) for n in range(2)]


@pytest.mark.parametrize("isolation", ["inline", "worker"])
def test_a_source_reads_pages_of_a_service(project, world, isolation):
    server = world.server(pages)
    source = flow("shop/orders", url=f"http://127.0.0.1:{server.port}/orders")
    outcome, rows = project(source, OPEN, isolation=isolation)
    assert (outcome.status, outcome.problems) == ("finished", ())
    assert sorted(rows, key=str) == sorted(ROWS, key=str)
    assert {asked.headers.get("x-key") for asked in server.asked} == {"s3cr3t-key"}


def test_a_bare_file_may_do_what_its_flow_grants(project, world):
    server = world.server(pages)
    grants = {"http": [{"host": "127.0.0.1", "networks": ["127.0.0.0/8"]}]}
    outcome, rows = project(flow("./shop.py/orders", grants, url=f"http://127.0.0.1:{server.port}/orders"))
    assert (outcome.status, len(rows)) == ("finished", 6)
    assert all("x-key" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    ("uses", "grants", "step", "code"),
    [
        ("shop/orders", "{}", None, "permission.denied"),
        ("shop/orders", '{ http = [{ host = "127.0.0.1" }] }', None, "permission.address"),
        ("shop/orders", OPEN, {"http": [{"path": "/other"}]}, "permission.http"),
        ("shop/orders", "{}", {"http": [{"networks": ["127.0.0.0/8"]}]}, "permission.denied"),
        ("./shop.py/orders", OPEN, None, "permission.denied"),
    ],
)
@pytest.mark.parametrize("isolation", ["inline", "worker"])
def test_what_is_not_granted_stops_the_flow_before_it_starts(project, world, uses, grants, step, code, isolation):
    server = world.server(pages)
    with pytest.raises(ConfigError) as caught:
        project(flow(uses, step, url=f"http://127.0.0.1:{server.port}/orders"), grants, isolation=isolation)
    assert code in [problem.code for problem in caught.value.problems] or code in str(caught.value)
    assert server.asked == []


def test_a_service_that_comes_and_goes_loses_nothing(project, world):
    def say(connection, asked):
        if len(server.asked) % 2:
            connection.close()
        else:
            pages(connection, asked)

    server = world.server(say)
    url = f"http://127.0.0.1:{server.port}/orders"
    source = flow("shop/orders", url=url)
    source["sources"]["orders"]["on_error"] = {"retry": {"attempts": 5, "delay": "1ms"}}
    outcome, rows = project(source, OPEN.replace("secrets = [{}], ", ""))
    assert (outcome.status, sorted(rows, key=str)) == ("finished", sorted(ROWS, key=str))


def test_the_set_of_the_folder_bounds_requests_and_names_authorities(project, world):
    server = world.server(pages, world.authority.give("127.0.0.1"))
    source = flow("shop/orders", url=f"https://127.0.0.1:{server.port}/orders")
    with pytest.raises(ConfigError, match=r"http\.not_trusted"):
        project(source, OPEN)
    trusting = f'[broker]\ncertificates = "{world.authority.file}"\n'
    with pytest.raises(ConfigError, match=r"http\.too_large"):
        project(source, OPEN, f"{trusting}response = 10\n")
    outcome, rows = project(source, OPEN, trusting)
    assert (outcome.status, len(rows)) == ("finished", 6)
    with pytest.raises(ConfigError, match=r"there is no field `size`"):
        project(source, OPEN, "[broker]\nsize = 10\n")


@pytest.mark.parametrize("isolation", ["inline", "worker"])
def test_an_input_is_where_the_flow_says(project, isolation):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def feed():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"one\ntwo\nthr")
                connection.sendall(b"ee\n")

        thread = threading.Thread(target=feed)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}?reconnect=no"
        outcome, rows = project(
            flow("shop/lines", {"inputs": [{"name": "lines", "address": address}]}), OPEN, isolation=isolation
        )
        thread.join()
    assert (outcome.status, outcome.problems) == ("finished", ())
    assert [row["text"] for row in rows] == ["one", "two", "three"]


def test_mistakes_in_grants_are_told_with_their_place(project):
    grants = {"http": [{"methods": "GET"}, {"networks": ["everything"]}], "htpp": [{}], "inputs": {}}
    with pytest.raises(ConfigError) as caught:
        project(flow("shop/lines", grants), OPEN)
    told = {(problem.code, problem.pointer) for problem in caught.value.problems}
    place = "/sources/orders/grants"
    assert told == {
        ("flow.type", f"{place}/http/0/methods"),
        ("flow.type", f"{place}/http/1/networks"),
        ("flow.unknown_key", f"{place}/htpp"),
        ("flow.type", f"{place}/inputs"),
    }
    with pytest.raises(ConfigError, match=r"set\.grants"):
        project(flow("shop/lines"), '{ http = [{ networks = ["everything"] }] }')


def test_the_word_grants_is_written_back_as_it_was_read(tmp_path):
    grants = {"http": [{"host": "api.example"}]}
    (tmp_path / "flow.yaml").write_text(json.dumps(flow("shop/lines", grants)))
    assert Flow.load(tmp_path / "flow.yaml").steps["orders"].to_mapping()["grants"] == grants
