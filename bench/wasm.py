"""What the sandbox costs over wasmtime itself: ``python bench/wasm.py [ROUNDS]``.

The same modules (Go, of bench/plugins) are called by a loop written by hand on wasmtime-py and by our loader, in turn;
the figures are medians, the ratios medians of the ratios within the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import wasmtime

from dataflare import Batch
from dataflare.context import Context
from dataflare.drive import driver_for
from dataflare.guest import Frame
from dataflare.hosting import Guests, Limits, component_classes
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare_wasm.engine import engine
from dataflare_wasm.guest import WasmGuest
from dataflare_wasm.package import asked

HERE = Path(__file__).resolve().parent
CALLS = 40


def built(plugin: str, folder: Path) -> Path:
    """The module of a plugin of bench/plugins."""
    made = folder / f"{plugin}.wasm"
    given = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    words = ["go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", str(made), "."]
    subprocess.run(words, cwd=HERE / "plugins" / plugin, env=given, check=True)
    return made


class ByHand:
    """The same calls on wasmtime-py, with what a careful author would write: a limit, a deadline, WASI with nothing."""

    def __init__(self, machine: wasmtime.Engine, module: wasmtime.Module) -> None:
        linker = wasmtime.Linker(machine)
        linker.define_wasi()
        i32 = wasmtime.ValType.i32()
        linker.define_func("dataflare", "host_call", wasmtime.FuncType([i32, i32], [i32]), lambda *_: 0)
        linker.define_func("dataflare", "host_read", wasmtime.FuncType([i32], []), lambda _: None)
        linker.define_func("dataflare", "log", wasmtime.FuncType([i32] * 3, []), lambda *_: None)
        self.store = wasmtime.Store(machine)
        self.store.set_limits(memory_size=256 << 20)
        self.store.set_wasi(wasmtime.WasiConfig())
        self.store.set_epoch_deadline(1 << 40)
        exports = linker.instantiate(self.store, module).exports(self.store)
        exports["_initialize"](self.store)  # type: ignore[operator]
        self.memory: Any = exports["memory"]
        self._reserve: Any = exports["dataflare_reserve"]
        self._call: Any = exports["dataflare_call"]

    def call(self, request: bytes) -> bytearray:
        at = self._reserve(self.store, len(request)) & 0xFFFFFFFF
        self.memory.write(self.store, request, at)
        told = self._call(self.store, len(request)) & 0xFFFFFFFFFFFFFFFF
        answer: bytearray = self.memory.read(self.store, told >> 32, (told >> 32) + (told & 0xFFFFFFFF))
        return answer


def batch(rows: int) -> pa.RecordBatch:
    """Readings as in W1."""
    numbers = range(rows)
    return pa.record_batch(
        {
            "id": pa.array(numbers, pa.int64()),
            "device": pa.array([f"device-{n % 97}" for n in numbers]),
            "temperature": pa.array([n * 37 % 400 / 10 for n in numbers]),
            "humidity": pa.array([n * 17 % 1000 / 10 for n in numbers]),
            "note": pa.array([f"reading {n} of the day, all well" for n in numbers]),
        }
    )


def stream_of(given: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, given.schema) as writer:
        writer.write_batch(given)
    return bytes(sink.getvalue())


def alternately(rounds: int, *contenders: Callable[[], Any], calls: int = CALLS) -> list[list[float]]:
    """Seconds a call of each contender, a figure a round; they take turns.

    CPU time of this thread, which does all of it: on a machine with other work, wall time says little.
    """
    for each in contenders:
        each()
    found: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for seconds, each in zip(found, contenders, strict=True):
            took = []
            for _ in range(calls):
                begun = time.thread_time()
                each()
                took.append(time.thread_time() - begun)
            seconds.append(statistics.median(took))
    return found


def told(name: str, ours: list[float], hand: list[float], rows: int) -> None:
    ratio = statistics.median(one / other for one, other in zip(ours, hand, strict=True))
    more = statistics.median(one - other for one, other in zip(ours, hand, strict=True))
    mine, theirs = statistics.median(ours) * 1e3, statistics.median(hand) * 1e3
    print(f"| {name} | {mine:.3f} | {theirs:.3f} | {ratio:.2f} | {more * 1e6:+.0f} | {rows / mine:,.0f} |", flush=True)


def opened(guest: Any, encoding: str, schema: Schema) -> None:
    opening = {"op": "open", "instance": 1, "component": "processor:hot", "config": {}, "encoding": encoding}
    frame = Frame({**opening, "schemas": {"": schema.as_json()}, "context": {}, "resume": {}})
    answer = guest(frame)
    assert "error" not in answer.header, answer.header


def calls(rounds: int, name: str, module: wasmtime.Module, encoding: str, rows: int) -> None:
    """One operation, as frames: what our transport adds to the same calls by hand."""
    given = batch(rows)
    part = stream_of(given) if encoding == "arrow" else json.dumps(given.to_pylist()).encode()
    words = {"op": "process", "instance": 1, "input": "", "stream": "", "part": 0}
    guest, hand = WasmGuest(engine(), module, Limits(), "bench"), ByHand(engine().wasmtime, module)
    nobody = lambda _: Frame({})  # noqa: E731
    opened(lambda frame: guest.call(frame, nobody, 60), encoding, Schema(given.schema))
    opened(lambda frame: Frame.unpack(bytes(hand.call(frame.pack()))), encoding, Schema(given.schema))
    request = Frame(words, [part])
    packed = request.pack()
    answers = guest.call(request, nobody, 60), Frame.unpack(bytes(hand.call(packed)))
    assert answers[0] == answers[1]
    ours, by_hand = alternately(rounds, lambda: guest.call(request, nobody, 60), lambda: hand.call(packed))
    told(f"{name}, {rows:,} rows, {len(part):,} bytes", ours, by_hand, rows)


def batches(rounds: int, name: str, module: wasmtime.Module, encoding: str, rows: int) -> None:
    """A batch through the component, as the engine calls it; by hand with the encoding that a caller needs."""
    given = batch(rows)
    guests = Guests(lambda: WasmGuest(engine(), module, Limits(), "bench"))
    described = {**asked(guests, "bench"), "encodings": [encoding]}
    for each in described["components"]:
        each.pop("encodings", None)
    made = {each.spec.name: each for each in component_classes(described, guests, Limits(), "bench")}
    driver: Any = driver_for(made["hot"](), Context())
    driver.plan({"": Schema(given.schema)})
    driver.open(Resume())
    hand = ByHand(engine().wasmtime, module)
    opened(lambda frame: Frame.unpack(bytes(hand.call(frame.pack()))), encoding, Schema(given.schema))
    words = {"op": "process", "instance": 1, "input": "", "stream": "", "part": 0}

    def by_hand() -> Any:
        part = stream_of(given) if encoding == "arrow" else json.dumps(given.to_pylist()).encode()
        answer = Frame.unpack(hand.call(Frame(words, [part]).pack()))
        if encoding == "arrow":
            return pa.ipc.open_stream(pa.py_buffer(answer.parts[0])).read_all()
        return pa.RecordBatch.from_pylist(json.loads(bytes(answer.parts[0])), given.schema)

    ours, theirs = alternately(rounds, lambda: driver.process(Batch(given)), by_hand)
    told(f"{name}, {rows:,} rows", ours, theirs, rows)


def lanes(rounds: int, module: wasmtime.Module, encoding: str, rows: int) -> float:
    """How much faster two lanes are than one, with as many calls each."""
    given = batch(rows)
    part = stream_of(given) if encoding == "arrow" else json.dumps(given.to_pylist()).encode()
    request = Frame({"op": "process", "instance": 1, "input": "", "stream": "", "part": 0}, [part])
    nobody = lambda _: Frame({})  # noqa: E731
    guests = [WasmGuest(engine(), module, Limits(), "bench") for _ in range(2)]
    for guest in guests:
        opened(lambda frame, guest=guest: guest.call(frame, nobody, 60), encoding, Schema(given.schema))

    def work(guest: WasmGuest) -> None:
        for _ in range(CALLS):
            guest.call(request, nobody, 60)

    def took(count: int) -> float:
        threads = [threading.Thread(target=work, args=(guest,)) for guest in guests[:count]]
        begun = time.perf_counter()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return time.perf_counter() - begun

    took(2)
    return statistics.median(2 * took(1) / took(2) for _ in range(rounds))


IDLE = """
import json, sys
from pathlib import Path
from dataflare_host import Host
import pyarrow, dataflare.drive
def resident():
    told = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(told["Pss"].split()[0]) / 1024
host = Host.start()
host.enter(Path(sys.argv[1]))
found = [entry.load() for entry in host.table().entries("processor") if entry.plugin.startswith("idle")]
print(json.dumps([len(found), resident()]))
"""


def idle(folder: Path, module: Path) -> tuple[float, float]:
    """MB of a host with ten plugins that were asked what they have and wait, and of one without."""
    told = []
    for number in range(10):
        package = folder / f"idle{number}"
        package.mkdir()
        manifest = (HERE / "plugins" / "w1-extism" / "dataflare.toml").read_text().replace("extism", "wasm")
        (package / "dataflare.toml").write_text(manifest.replace('id = "w1-wasm"', f'id = "idle{number}"'))
        # A section of its own makes it another module.
        (package / "plugin.wasm").write_bytes(module.read_bytes() + bytes([0, 2, 1, 48 + number]))
        told.append(f'[plugins.idle{number}]\nfolder = "idle{number}"\n')
    (folder / "plugins.toml").write_text("\n".join(told))
    (folder / "empty").mkdir()

    def megabytes(where: str) -> float:
        done = subprocess.run([sys.executable, "-c", IDLE, where], capture_output=True, text=True, check=True)
        count, found = json.loads(done.stdout)
        assert count == (0 if where.endswith("empty") else 20), count
        return float(found)

    megabytes(str(folder))  # compiles
    return megabytes(str(folder)), megabytes(str(folder / "empty"))


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as told_:
        folder = Path(told_)
        modules = {name: engine().module(built(name, folder)) for name in ("w1-go", "w1-extism")}
        # Another module of the same code, which nobody holds.
        (folder / "copy.wasm").write_bytes((folder / "w1-extism.wasm").read_bytes() + bytes([0, 2, 1, 48]))
        arrow, rows = modules["w1-go"], modules["w1-extism"]
        print("| calls, as frames | ours ms | by hand ms | ratio | µs more | k rows/s |\n|---|---|---|---|---|---|")
        for name, module, encoding, count in (
            ("JSON", rows, "json", 1),
            ("JSON", rows, "json", 1000),
            ("Arrow", arrow, "arrow", 1),
            ("Arrow", arrow, "arrow", 1000),
            ("Arrow", arrow, "arrow", 50_000),
        ):
            calls(rounds, name, module, encoding, count)
        print("\n| batches, encoded | ours ms | by hand ms | ratio | µs more | k rows/s |\n|---|---|---|---|---|---|")
        for name, module, encoding, count in (
            ("JSON", rows, "json", 1000),
            ("Arrow", arrow, "arrow", 1000),
            ("Arrow", arrow, "arrow", 50_000),
        ):
            batches(rounds, name, module, encoding, count)
        print(f"\ntwo lanes: {lanes(rounds, rows, 'json', 1000):.2f} x one (JSON), ", end="")
        print(f"{lanes(rounds, arrow, 'arrow', 50_000):.2f} x (Arrow)")
        at_hand, cached = alternately(
            rounds,
            lambda: WasmGuest(engine(), rows, Limits(), "bench").close(),
            lambda: WasmGuest(engine(), engine().module(folder / "copy.wasm"), Limits(), "bench").close(),
        )
        print(f"a new instance: {statistics.median(at_hand) * 1e3:.2f} ms, ", end="")
        print(f"{statistics.median(cached) * 1e3:.2f} ms with its module taken from the cache")
        ten, bare = idle(folder, folder / "w1-extism.wasm")
        print(f"ten idle plugins: {ten - bare:.1f} MB over the bare host of {bare:.1f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
