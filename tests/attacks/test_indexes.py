"""An index that is not to be trusted: exit code 4 and the attack's name, and what is in use stays."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from index.lying import Liar, broken, endless, head, swapped
from packages.projects import wheel

from dataflare_host.app import Host
from dataflare_index import client, signing
from dataflare_index.checking import root_of
from dataflare_index.keys import make_keys, read_key
from dataflare_index.publishing import add, init
from dataflare_index.signing import METADATA, newest
from dataflare_index.trusted import trust

from .conftest import Publish, Run

WHEEL = "dataflare_left-1.1.0"


def in_use(project: Path) -> str:
    with Host.start() as host:
        host.enter(project)
        return host.table().find("processor", "left/few").version


def _signed_by(index: Path, keys: Path, version: int, **changed: object) -> None:
    held = newest(index, "timestamp")
    held.signed.version += version
    for name, value in changed.items():
        setattr(held.signed, name, value)
    held.sign(read_key(keys, "timestamp"))
    (index / METADATA / "timestamp.json").write_bytes(held.to_bytes())


def rollback(index: Path, before: Path, liar: Liar) -> None:
    shutil.rmtree(index / METADATA)
    shutil.copytree(before / METADATA, index / METADATA)


def freeze(index: Path, before: Path, liar: Liar) -> None:
    _signed_by(index, index, 1, expires=datetime.now(UTC).replace(microsecond=0) - timedelta(days=1))


def mix_and_match(index: Path, before: Path, liar: Liar) -> None:
    snapshot = newest(index, "snapshot").signed.version
    shutil.copy(before / METADATA / f"{snapshot - 1}.snapshot.json", index / METADATA / f"{snapshot}.snapshot.json")


def arbitrary_content(index: Path, before: Path, liar: Liar) -> None:
    liar.word, liar.lie = WHEEL, swapped


def endless_data(index: Path, before: Path, liar: Liar) -> None:
    liar.word, liar.lie = "timestamp", endless


def endless_wheel(index: Path, before: Path, liar: Liar) -> None:
    liar.word, liar.lie = WHEEL, endless


def wrong_key(index: Path, before: Path, liar: Liar) -> None:
    make_keys(before / "stranger")
    _signed_by(index, before / "stranger", 1)


def nonsense(index: Path, before: Path, liar: Liar) -> None:
    liar.word, liar.lie = "timestamp", broken


def deep_nonsense(index: Path, before: Path, liar: Liar) -> None:
    def nested(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        head(to, 16_000)
        to.wfile.write(b"[" * 16_000)

    liar.word, liar.lie = "timestamp", nested


def other_catalogue(index: Path, before: Path, liar: Liar) -> None:
    liar.word, liar.lie = "left.json", swapped


ATTACKS: list[tuple[Callable[[Path, Path, Liar], None], str]] = [
    (rollback, "rollback"),
    (freeze, "freeze"),
    (mix_and_match, "mix_and_match"),
    (arbitrary_content, "arbitrary_content"),
    (endless_data, "endless_data"),
    (endless_wheel, "endless_data"),
    (wrong_key, "wrong_key"),
    (nonsense, "arbitrary_content"),
    (deep_nonsense, "arbitrary_content"),
    (other_catalogue, "arbitrary_content"),
]


@pytest.mark.parametrize(("attack", "name"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_it_is_named_and_what_is_in_use_stays(
    attack: Callable[[Path, Path, Liar], None],
    name: str,
    trusting: Path,
    index: Path,
    liar: Liar,
    publish: Publish,
    run: Run,
    tmp_path: Path,
) -> None:
    before = tmp_path / "before"
    shutil.copytree(index, before)
    lock = (trusting / "dataflare.lock").read_bytes()
    if name in ("rollback", "mix_and_match"):
        publish("left", "1.2.0")
    if name == "rollback":
        assert run("plugin", "outdated", "--project", trusting)[0] in (0, 1)
    attack(index, before, liar)
    code, told = run("plugin", "add", "left>=1.1", "--project", trusting)
    problem = told["errors"][0]
    assert (code, problem["code"], problem["details"]["attack"], told["attack"]) == (4, "index.not_trusted", name, name)
    assert (trusting / "dataflare.lock").read_bytes() == lock
    assert in_use(trusting) == "1.0.0"
    shutil.rmtree(trusting / ".dataflare" / "plugins")
    assert run("plugin", "sync", "--locked", "--project", trusting)[0] == 0
    assert in_use(trusting) == "1.0.0"


def test_a_name_that_somebody_took_on_a_second_index_is_refused(trusting: Path, publish: Publish, run: Run) -> None:
    other = trusting.parent / "second"
    init(other, "second")
    publish("right")
    add(other, [wheel(trusting.parent / "theirs", each, "9.0.0") for each in ("left", "right")])
    trust(trusting, str(other), root_of(other))
    code, told = run("plugin", "add", "right", "--project", trusting)
    assert (code, told["errors"][0]["code"], told["attack"]) == (4, "index.two_indexes", "squatted_name")
    code, told = run("plugin", "upgrade", "--project", trusting)
    assert (code, told["plugins"]) == (0, {"left": "1.1.0"})


@pytest.mark.parametrize("moment", ["silent", "dripping", "broken off"])
def test_an_index_that_hangs_is_given_up(
    moment: str, trusting: Path, liar: Liar, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SECONDS", 0.3)

    def hang(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        head(to, len(content))
        for byte in content if moment == "dripping" else b"":
            try:
                to.wfile.write(bytes([byte]))
            except OSError:
                return
            if liar.stop.wait(0.05):
                return
        if moment == "silent":
            liar.stop.wait(30)

    liar.word, liar.lie = "timestamp", hang
    code, told = run("plugin", "upgrade", "--project", trusting)
    assert (code, told["errors"][0]["code"]) == (1, "index.unreachable")
    assert run("plugin", "sync", "--locked", "--project", trusting)[0] == 0
    assert in_use(trusting) == "1.0.0"


def test_a_server_that_packs_what_it_serves_is_asked_not_to(trusting: Path, liar: Liar, run: Run) -> None:
    def packing(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        packed = "gzip" in to.headers.get("Accept-Encoding", "")
        sent = gzip.compress(content) if packed else content
        to.send_response(200)
        to.send_header("Content-Length", str(len(sent)))
        if packed:
            to.send_header("Content-Encoding", "gzip")
        to.end_headers()
        to.wfile.write(sent)

    liar.word, liar.lie = "snapshot.json", packing
    assert run("plugin", "upgrade", "--project", trusting)[0] == 0


def test_an_index_that_sends_elsewhere_is_not_followed(trusting: Path, liar: Liar, run: Run) -> None:
    def elsewhere(to: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
        to.send_response(302)
        to.send_header("Location", f"{liar.address}/metadata/timestamp.json?other")
        to.end_headers()

    liar.word, liar.lie = "timestamp.json", elsewhere
    before = liar.asked
    assert run("plugin", "upgrade", "--project", trusting)[1]["errors"][0]["code"] == "index.unreachable"
    assert liar.asked - before <= 3


def test_the_first_root_of_an_index_ends(liar: Liar, publish: Publish, run: Run, tmp_path: Path) -> None:
    publish("left")
    liar.word, liar.lie = "root.json", endless
    code, told = run("index", "mirror", liar.address, tmp_path / "copy")
    assert (code, told["errors"][0]["code"], told["attack"]) == (4, "index.not_trusted", "endless_data")


def test_a_served_index_that_answers_without_end_is_left(liar: Liar, run: Run, publish: Publish) -> None:
    made = publish("left")
    assert run("plugin", "keys", "new", "--identity", "Ada")[0] == 0

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        head(to, None)
        try:
            to.wfile.write(b" " * (2 << 20) + b"{}")
        except OSError:
            return

    liar.server.RequestHandlerClass = type("Endless", (http.server.BaseHTTPRequestHandler,), {"do_POST": answer})  # type: ignore[assignment]
    code, told = run("plugin", "publish", made, "--to", liar.address)
    assert (code, told["errors"][0]["code"]) == (1, "publish.unreachable")


def test_json_that_is_nested_deeply_is_no_crash(index: Path, publish: Publish, run: Run, trusting: Path) -> None:
    raw = b'{"releases": ' + b"[" * 100_000
    (index / "catalogue" / "left.json").write_bytes(raw)
    (index / "catalogue" / f"{hashlib.sha256(raw).hexdigest()}.left.json").write_bytes(raw)
    signing.publish(index, ["catalogue/left.json"])
    code, told = run("plugin", "upgrade", "--project", trusting)
    assert (code, told["errors"][0]["code"]) == (2, "index.catalogue")
    assert in_use(trusting) == "1.0.0"
