"""The loader `wasm`: a Go plugin does in its sandbox what the same components do in Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import wasmtime
from vectors.conversations import CONVERSATIONS, Answering, play

from dataflare import Batch
from dataflare.context import Context
from dataflare.drive import ProcessorDriver, SinkDriver, SourceDriver, ToolDriver, driver_for
from dataflare.errors import ConfigError
from dataflare.guest import Frame
from dataflare.hosting import Limits
from dataflare.memory import MemoryState
from dataflare.schema import Schema
from dataflare.split import Demand, Resume, Split
from dataflare_host import Host
from dataflare_host.manifest import Manifest
from dataflare_wasm.engine import engine
from dataflare_wasm.guest import WasmGuest
from dataflare_wasm.loader import Wasm

Making = Callable[..., Manifest]
N = pa.schema([("n", pa.int64())])


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.start() as started:
        yield started


@pytest.fixture
def components(plugin: Making, host: Host, conversing: Path) -> dict[str, Any]:
    return {f"{made.kind}:{made.spec.name}": made for made in Wasm().components(plugin(conversing), host)}


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda each: each["name"])
def test_every_conversation_goes_as_written(conversing: Path, conversation: dict[str, Any]) -> None:
    asked = Answering()

    def answering(frame: Frame) -> Frame:
        return Frame({}) if frame.header["op"] == "metric" else asked(frame)

    guest = WasmGuest(engine(), engine().module(conversing), Limits(), "conversing")
    play(conversation, lambda frame: guest.call(frame, answering, 30), asked)
    guest.close()


def test_a_source_is_read_and_resumed(components: dict[str, Any]) -> None:
    driver = driver_for(components["source:numbers"](count=5, size=2), Context())
    assert isinstance(driver, SourceDriver)
    driver.plan()
    driver.open(Resume())
    demand = Demand(100, 1 << 20, float("inf"))
    for position, wanted in ((None, [[0, 1], [2, 3], [4]]), (4, [[4]])):
        steps = driver.read(Split("part-0", data=0), position, demand, None)
        found = [step.batch.to_rows() for step in steps if step.batch is not None]
        assert [[row["n"] for row in rows] for rows in found] == wanted
    driver.close()


def processing(made: Any, ctx: Context, schema: pa.Schema) -> ProcessorDriver:
    driver = driver_for(made, ctx)
    assert isinstance(driver, ProcessorDriver)
    driver.plan({"": Schema(schema)})
    driver.open(Resume())
    return driver


def test_a_processor_rejects_rows_and_the_host_keeps_its_state(components: dict[str, Any]) -> None:
    driver = processing(components["processor:times"](by=3), Context(), N)
    done = driver.process(Batch.of({"n": [1, -2, 3]}, N))
    assert [rows.to_rows() for _, rows in done.outputs] == [[{"n": 3}, {"n": 9}]]
    assert [(each.rows.to_pylist(), each.code) for each in done.rejected] == [([1], "negative")]
    driver.close()
    schema = pa.schema([("key", pa.string()), ("n", pa.int64())])
    state = MemoryState()
    driver = processing(components["processor:totals"](key="key"), Context(state=state), schema)
    for wanted in ([1, 3], [4, 6]):
        done = driver.process(Batch.of([{"key": "a", "n": 1}, {"key": "a", "n": 2}], schema))
        assert [row["total"] for _, rows in done.outputs for row in rows.to_rows()] == wanted
        state.apply()
    driver.close()


def test_a_sink_commits_and_a_tool_answers(components: dict[str, Any]) -> None:
    driver = driver_for(components["sink:shelf"](), Context())
    assert isinstance(driver, SinkDriver)
    driver.plan(Schema(N))
    driver.open(Resume())
    driver.begin(1)
    driver.write(Batch.of({"n": [1, 2]}, N))
    driver.commit(1, [driver.prepare(1, False)])
    assert driver.recover() == 1
    driver.close()
    tool = driver_for(components["tool:add"](), Context())
    assert isinstance(tool, ToolDriver)
    assert list(tool.call({"a": 2, "b": 3})) == [(False, {"done": 1}), (True, {"sum": 5})]


def test_usage_is_told_to_the_metrics_of_the_step(components: dict[str, Any]) -> None:
    class Metrics:
        values: dict[str, float] = {}

        def count(self, name: str, value: float = 1) -> None:
            self.values[name] = self.values.get(name, 0) + value

        def gauge(self, name: str, value: float) -> None:
            self.values[name] = value

    ctx = Context(metrics=Metrics())
    driver = processing(components["processor:times"](), ctx, N)
    for _ in range(3):
        driver.process(Batch.of({"n": [1]}, N))
    driver.close()
    told = Metrics.values
    assert told["guest.calls"] >= 4
    assert told["guest.memory"] > 1 << 20
    assert min(told["guest.seconds"], told["guest.bytes_in"], told["guest.bytes_out"]) > 0


def test_the_table_of_the_build_is_enough_to_know_the_components(plugin: Making, host: Host) -> None:
    manifest = plugin(b"never read")
    component = {"kind": "processor", "name": "a", "summary": "", "doc": "", "config": {"type": "object"}}
    told = {"protocol": 1, "encodings": ["json"], "components": [{**component, "operations": ["process"]}]}
    Path(manifest.file).with_name("components.json").write_text(json.dumps(told))
    (made,) = Wasm().components(manifest, host)
    with pytest.raises(ConfigError) as refused:
        processing(made(), Context(), N)
    assert refused.value.code == "plugin.wasm_invalid"


def module(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


ABI = """
  (memory (export "memory") 1)
  (func (export "dataflare_abi") (result i32) (i32.const 1))
  (func (export "dataflare_reserve") (param i32) (result i32) (i32.const 1024))
  (func (export "dataflare_call") (param i32) (result i64) (i64.const 0))
"""


def test_nothing_is_said_against_a_module_of_the_sdk(plugin: Making, conversing: Path) -> None:
    assert list(Wasm().audit(conversing, plugin(conversing))) == []


@pytest.mark.parametrize(
    ("imported", "named"),
    [
        ('(import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))', "sock_accept"),
        ('(import "wasi_snapshot_preview1" "thread_spawn" (func))', "wasi_snapshot_preview1.thread_spawn"),
        ('(import "env" "system" (func (param i32)))', "env.system"),
        ('(import "dataflare" "host_delete" (func))', "dataflare.host_delete"),
        ('(import "extism:host/env" "http_request" (func))', "http_request"),
        ('(import "dataflare" "log" (global i32))', "dataflare.log"),
        ('(import "env" "memory" (memory 1))', "env.memory"),
    ],
)
def test_an_import_that_is_not_implied_is_refused_by_name(
    plugin: Making, host: Host, imported: str, named: str
) -> None:
    own = '(memory (export "memory") 1)'
    wasm = module(imported + (ABI.replace(own, '(export "memory" (memory 0))') if "(memory" in imported else ABI))
    manifest = plugin(wasm)
    (problem,) = Wasm().audit(Path(manifest.file).with_name("plugin.wasm"), manifest)
    assert problem.code == "plugin.wasm_import"
    assert named in problem.message
    with pytest.raises(ConfigError, match="wasm_import"):
        Wasm().components(manifest, host)


def test_sockets_are_implied_by_the_permission(plugin: Making) -> None:
    wasm = module('(import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))' + ABI)
    manifest = plugin(wasm, permissions={"sockets": ({"reason": "it listens"},)})
    assert list(Wasm().audit(Path(manifest.file).with_name("plugin.wasm"), manifest)) == []


@pytest.mark.parametrize("name", ["memory", "dataflare_abi", "dataflare_reserve", "dataflare_call"])
def test_a_missing_export_is_named(plugin: Making, host: Host, name: str) -> None:
    manifest = plugin(module(ABI.replace(f'(export "{name}")', "")))
    with pytest.raises(ConfigError, match=f"`{name}`") as refused:
        Wasm().components(manifest, host)
    assert refused.value.code == "plugin.wasm_export"


def test_an_export_of_another_form_is_refused(plugin: Making, host: Host) -> None:
    manifest = plugin(module(ABI.replace("(result i64) (i64.const 0)", "(result i32) (i32.const 0)")))
    with pytest.raises(ConfigError, match=r"\(i32\) -> \(i32\), not as \(i32\) -> \(i64\)"):
        Wasm().components(manifest, host)


def test_another_version_of_the_interface_is_refused(plugin: Making, host: Host) -> None:
    manifest = plugin(
        module(
            ABI.replace('"dataflare_abi") (result i32) (i32.const 1)', '"dataflare_abi") (result i32) (i32.const 2)')
        )
    )
    with pytest.raises(ConfigError, match="version 2") as refused:
        Wasm().components(manifest, host)
    assert refused.value.code == "plugin.wasm_abi"


def test_an_entry_outside_of_the_package_is_refused(plugin: Making, host: Host, conversing: Path) -> None:
    from dataclasses import replace

    manifest = replace(plugin(conversing), entry="../plugin.wasm")
    with pytest.raises(ConfigError) as refused:
        Wasm().components(manifest, host)
    assert refused.value.code == "plugin.entry_outside"


def test_knowing_the_plugins_needs_no_wasmtime() -> None:
    code = (
        "import sys; from dataflare_host import Host\n"
        "with Host.start() as host: print([e.uses for e in host.table().entries('loader', loading=False)])\n"
        "assert not {'wasmtime', 'extism', 'dataflare_wasm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "wasm/wasm" in done.stdout


def test_a_process_ends_quietly_whatever_is_open(conversing: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from dataflare.guest import Frame; from dataflare.hosting import Limits\n"
        "from dataflare_wasm.engine import engine; from dataflare_wasm.guest import WasmGuest\n"
        "guest = WasmGuest(engine(), engine().module(Path(sys.argv[1])), Limits(), 'open')\n"
        "guest.call(Frame({'op': 'describe'}), lambda _: Frame({}), 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(conversing)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
