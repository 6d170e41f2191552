"""The loader `extism`: exports as processors and tools, or frames; HTTP, files and sleep are not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golang
import pyarrow as pa
import pytest
import wasmtime
from vectors.conversations import CONVERSATIONS, Answering, play

from dataflare import Batch
from dataflare.context import Context
from dataflare.drive import ProcessorDriver, ToolDriver, driver_for
from dataflare.errors import ConfigError
from dataflare.guest import Frame
from dataflare.hosting import GuestLost, Limits
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare_host import Host
from dataflare_host.manifest import Manifest
from dataflare_wasm.extism_guest import Export, ExtismGuest, PlainGuest
from dataflare_wasm.extism_loader import Extism
from dataflare_wasm.extism_module import ExtismModule

Making = Callable[..., Manifest]
INPUT = {"properties": {"Name": {"type": "string"}}, "required": ["Name"]}
TABLE = {"processor": {"hot": "hot", "do": "do"}, "tool": {"greet": {"export": "greet", "input": INPUT}}}
N = pa.schema([("n", pa.int64())])
LIMITS = Limits(memory=64 << 20, wall_per_batch=0.5)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.start() as started:
        yield started


@pytest.fixture(scope="session")
def plain() -> Path:
    """The plugin in `plain/`: exports with bytes in and out."""
    return golang.module(Path(__file__).resolve().parent / "plain", sdk=False)


@pytest.fixture(scope="session")
def framed() -> Path:
    """The plugin of the conversations, as an Extism module."""
    return golang.module(golang.SDK, "./internal/vectors/plugin", tags="extism")


@pytest.fixture
def components(plugin: Making, host: Host, plain: Path) -> dict[str, Any]:
    manifest = plugin(plain, "extism", components=TABLE)
    return {f"{made.kind}:{made.spec.name}": made for made in Extism().components(manifest, host)}


@pytest.fixture(scope="session")
def compiled(plain: Path) -> ExtismModule:
    return ExtismModule(plain, LIMITS)


def test_an_export_is_a_processor_of_json_rows(components: dict[str, Any]) -> None:
    driver = driver_for(components["processor:hot"](), Context())
    assert isinstance(driver, ProcessorDriver)
    rows = Batch.of({"id": [1, 2, 3], "temperature": [10.0, 25.0, 40.0]})
    driver.plan({"": Schema(rows.schema)})
    driver.open(Resume())
    for _ in range(2):
        ((_, found),) = driver.process(rows).outputs
        wanted = [(2, 25.0, 77.0), (3, 40.0, 104.0)]
        assert [(row["id"], row["temperature"], row["fahrenheit"]) for row in found.to_rows()] == wanted
    driver.close()


def test_an_export_is_a_tool_of_an_object(components: dict[str, Any]) -> None:
    driver = driver_for(components["tool:greet"](), Context())
    assert isinstance(driver, ToolDriver)
    assert list(driver.call({"Name": "you"})) == [(True, {"greeting": "hello you", "calls": 1})]


CALLED = {"processor:times", "processor:parity", "processor:counter", "tool:add"}


@pytest.mark.parametrize(
    "conversation",
    [each for each in CONVERSATIONS if {turn["request"].get("component") for turn in each["turns"]} & CALLED],
    ids=lambda each: each["name"],
)
def test_frames_go_through_an_extism_module(framed: Path, conversation: dict[str, Any]) -> None:
    guest, asked = ExtismGuest(ExtismModule(framed, Limits()), Limits(), "framed"), Answering()
    play(conversation, lambda frame: guest.call(frame, lambda _: Frame({}), 30), asked)
    guest.close()


def test_a_module_of_frames_is_loaded_by_its_answer(plugin: Making, host: Host, framed: Path) -> None:
    made = {f"{each.kind}:{each.spec.name}": each for each in Extism().components(plugin(framed, "extism"), host)}
    driver = driver_for(made["tool:add"](), Context())
    assert isinstance(driver, ToolDriver)
    assert list(driver.call({"a": 2, "b": 3})) == [(False, {"done": 1}), (True, {"sum": 5})]


def behaving(compiled: ExtismModule) -> Callable[[str], Frame]:
    guest = PlainGuest(compiled, LIMITS, "acme", {("processor", "do"): Export("do")})
    guest.call(Frame({"op": "open", "instance": 1, "component": "processor:do", "config": {}}), lambda _: Frame({}), 1)

    def do(what: str) -> Frame:
        rows = json.dumps([{"what": what}]).encode()
        return guest.call(Frame({"op": "process", "instance": 1, "part": 0}, [rows]), lambda _: Frame({}), 1)

    return do


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("loop", "guest.timeout", "longer"),
        ("sleep", "guest.timeout", "longer"),
        ("memory", "guest.memory", "memory"),
        ("panic", "guest.trap", "main.do"),
        ("exit", "guest.exited", "os.Exit"),
        ("junk", "guest.frame", "no JSON"),
    ],
)
def test_an_instance_that_ends_is_lost(compiled: ExtismModule, what: str, code: str, says: str) -> None:
    do = behaving(compiled)
    with pytest.raises(GuestLost, match=says) as lost:
        do(what)
    (problem,) = lost.value.problems
    assert (problem.code, problem.message) == (code, "`acme` was lost in `process` of `processor:do`")
    with pytest.raises(GuestLost, match="it was closed"):
        do("")
    assert json.loads(bytes(behaving(compiled)("").parts[0])) == [{"calls": 1}]


@pytest.mark.parametrize(("what", "says"), [("fail", "refused on purpose"), ("file", "Bad file number")])
def test_an_error_of_an_export_is_its_answer_and_a_fresh_instance_goes_on(
    compiled: ExtismModule, what: str, says: str
) -> None:
    do = behaving(compiled)
    assert [json.loads(bytes(do("").parts[0])) for _ in range(2)] == [[{"calls": 1}], [{"calls": 2}]]
    assert says in do(what).header["error"]["message"]
    assert json.loads(bytes(do("").parts[0])) == [{"calls": 1}]


def test_http_of_extism_is_refused_by_name(plugin: Making, host: Host) -> None:
    for permissions in ({}, {"http": ({"host": "*", "reason": "it asks"},)}):
        wasm = wasmtime.wat2wasm(
            """(module (import "extism:host/env" "http_request" (func (param i64 i64) (result i64)))
              (func (export "hot") (result i32) (i32.const 0)))"""
        )
        manifest = plugin(bytes(wasm), "extism", components={"processor": {"hot": "hot"}}, permissions=permissions)
        (problem,) = Extism().audit(Path(manifest.file).with_name("plugin.wasm"), manifest)
        assert (problem.code, "extism:host/env.http_request" in problem.message) == ("plugin.wasm_import", True)
        (made,) = Extism().components(manifest, host)
        driver = driver_for(made(), Context())
        assert isinstance(driver, ProcessorDriver)
        with pytest.raises(ConfigError, match="http_request"):
            driver.plan({"": Schema(N)})


def test_only_processors_and_tools_can_be_exports(plugin: Making, host: Host, plain: Path) -> None:
    with pytest.raises(ConfigError, match="cannot have the source"):
        Extism().components(plugin(plain, "extism", components={"source": {"hot": "hot"}}), host)


def test_a_missing_export_is_named(plugin: Making, plain: Path) -> None:
    manifest = plugin(plain, "extism", components={"processor": {"cold": "cold"}})
    (problem,) = Extism().audit(plain, manifest)
    assert "`cold`" in problem.message


def test_what_extism_compiled_and_somebody_changed_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Path
) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path))

    def answer() -> Any:
        guest = PlainGuest(ExtismModule(plain, LIMITS), LIMITS, "acme", {("tool", "greet"): Export("greet")})
        request = Frame({"op": "call", "component": "tool:greet", "config": {}, "input": {"Name": "you"}})
        return guest.call(request, lambda _: Frame({}), 5).header

    def modules() -> dict[Path, bytes]:
        found = (tmp_path / "wasm" / "extism" / "modules").rglob("*")
        return {path: path.read_bytes() for path in found if path.is_file() and path.suffix != ".stats"}

    wanted = answer()
    written = modules()
    assert len(written) == 2  # Extism's own, and ours
    for path, content in written.items():
        path.write_bytes(content[:-100] + bytes(100))
    assert answer() == wanted
    assert modules() == written


def test_what_another_process_writes_just_now_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Path
) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path))
    ExtismModule(plain, LIMITS).instance({})
    (written,) = {path.parent for path in tmp_path.rglob("wasmtime-*/*") if path.is_file()}
    unfinished = written / "another.wip-atomic-write-mod"
    unfinished.write_bytes(b"half a mod")
    ExtismModule(plain, LIMITS).instance({})
    assert unfinished.read_bytes() == b"half a mod"
    told = json.loads((tmp_path / "wasm" / "extism" / "seal").read_bytes())
    assert told["files"]
    assert not any(unfinished.name in name for name in told["files"])
