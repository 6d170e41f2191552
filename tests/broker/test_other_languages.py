"""Requests and inputs of plugins in Go and TypeScript, in their sandboxes: as those in Python."""

from pathlib import Path

import golang
import pytest
from broker.calling import HTTP, SECRET, TOKEN, called
from js.conftest import sdk_js  # noqa: F401
from plugin_js.conftest import bundled, engines  # noqa: F401
from plugin_js.scripts import plugin_folder
from servers import answer, saying

from dataflare.errors import DataflareError, PermissionDenied
from dataflare_host import Host
from dataflare_host.manifest import Manifest
from dataflare_host.read_manifest import load_manifest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def host():
    with Host.start() as made:
        yield made


@pytest.fixture(scope="module")
def go(host, tmp_path_factory):
    """The components of `go/`, in the sandbox for WASM."""
    from dataflare_wasm.loader import Wasm

    folder = tmp_path_factory.mktemp("go")
    (folder / "plugin.wasm").write_bytes(golang.module(HERE / "go").read_bytes())
    manifest = Manifest("outside", "0.1.0", "", "wasm", str(folder / "dataflare.toml"), entry="plugin.wasm", api=">=1")
    return {f"{made.kind}:{made.spec.name}": made for made in Wasm().components(manifest, host)}


@pytest.fixture(scope="module")
def ts(host, bundled, tmp_path_factory):  # noqa: F811
    """The components of `outside.ts`, in the engine for scripts."""
    from dataflare_js.loader import JavaScript

    script = bundled((HERE / "outside.ts").read_text("utf-8")).read_text("utf-8")
    home = plugin_folder(tmp_path_factory.mktemp("ts"), "outside", script)
    manifest = load_manifest(home / "dataflare.toml", home.name)
    return {f"{made.kind}:{made.spec.name}": made for made in JavaScript(engine="quickjs").components(manifest, host)}


@pytest.fixture(params=["go", "ts"])
def components(request):
    return request.getfixturevalue(request.param)


def test_a_request_is_sent_by_the_host_with_what_the_plugin_never_sees(components, around, world):
    world.names["api.example"] = ["127.0.0.1"]
    server = world.server(
        saying(answer(201, f"fine, ü {TOKEN}".encode(), X_Told=TOKEN)), world.authority.give("api.example")
    )
    url, ctx = f"https://api.example:{server.port}/a", around(http=[HTTP], secrets=[SECRET])
    made = called(components, "ask", ctx, url=url, method="POST", body="é", headers={"X-A": "b"})
    assert (made["status"], made["text"].split()[:2]) == (201, ["fine,", "ü"])
    assert TOKEN not in str(made)
    assert (server.asked[0].method, server.asked[0].body) == ("POST", "é".encode())
    assert (server.asked[0].headers["x-a"], server.asked[0].headers["authorization"]) == ("b", TOKEN)


@pytest.mark.parametrize(
    ("grants", "url", "code"),
    [
        ({}, "http://api.example/", "permission.denied"),
        ({"http": [HTTP]}, "http://other.example/", "permission.http"),
        ({"http": [{}]}, "http://169.254.169.254/latest/meta-data/", "permission.address"),
        ({"http": [{}]}, "http://user@api.example/", "http.url"),
        ({"http": [HTTP]}, "http://api.example:1/", "http.unreachable"),
    ],
)
def test_a_refusal_reaches_the_plugin_and_comes_back_by_its_code(components, around, world, grants, url, code):
    world.names["api.example"] = ["127.0.0.1"]
    with pytest.raises(DataflareError) as caught:
        called(components, "ask", around(**grants), url=url)
    assert caught.value.code == code


def test_an_input_is_read_to_its_end(components, around, tmp_path):
    (tmp_path / "all").write_text("abc" * 10)
    ctx = around(inputs=[{"name": "in", "address": "file:all?from=start&follow=no"}])
    assert called(components, "all-of", ctx, name="in") == "abc" * 10
    with pytest.raises(PermissionDenied, match=r"permission\.denied"):
        called(components, "all-of", around(), name="in")
