"""Rows in a Go plugin: 1,000 records through its module in each of the SDK's ways, and the memory it keeps.

    python bench/go_rows.py

Builds ``plugins/go-rows``, calls it by wasmtime's public interface alone, alternates the ways, prints: the least
time of a batch, records a second, the least time of a batch without rows, the memory of the module after 1,000 batches
and after 2,000.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import wasmtime

from dataflare import Batch
from dataflare.guest import Frame
from dataflare.guest.encoding import encode
from dataflare.schema import Schema

PLUGIN = Path(__file__).parent / "plugins" / "go-rows"
ROWS = 1_000
ROUNDS = 60
WAYS = [(name, encoding) for name in ("whole", "rest", "free", "columns") for encoding in ("json", "arrow")]


def records(count: int) -> pa.RecordBatch:
    """Readings of sensors, about 180 bytes each as JSON; about half are above 20 degrees."""
    made = random.Random(7)
    at = pa.array(range(count), pa.int64()).cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    return pa.record_batch(
        {
            "id": pa.array(range(count), pa.int64()),
            "sensor": [f"sensor-{made.randrange(100):03}" for _ in range(count)],
            "site": [made.choice(("Zürich, Hardstrasse 7", "Wien, Gumpendorfer Strasse 3")) for _ in range(count)],
            "temperature": [round(made.uniform(0, 40), 2) for _ in range(count)],
            "humidity": [round(made.uniform(20, 90), 1) for _ in range(count)],
            "at": at,
            "note": [made.choice(("", "calibrated on site", "moved to the second floor")) for _ in range(count)],
        }
    )


class Module:
    """One instance of the module."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._store = wasmtime.Store(engine)
        self._store.set_wasi(wasmtime.WasiConfig())
        self._store.set_epoch_deadline(1 << 40)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        i32 = wasmtime.ValType.i32()
        linker.define_func("dataflare", "host_call", wasmtime.FuncType([i32, i32], [i32]), lambda *_: -1)
        linker.define_func("dataflare", "host_read", wasmtime.FuncType([i32], []), lambda *_: None)
        self._exports: Any = linker.instantiate(self._store, module).exports(self._store)
        self._exports["_initialize"](self._store)

    @property
    def size(self) -> int:
        """Bytes of its memory."""
        size: int = self._exports["memory"].data_len(self._store)
        return size

    def call(self, packed: bytes) -> bytes:
        """The answer to a frame."""
        memory = self._exports["memory"]
        at = self._exports["dataflare_reserve"](self._store, len(packed)) & 0xFFFFFFFF
        memory.write(self._store, packed, at)
        answer = self._exports["dataflare_call"](self._store, len(packed)) & (2**64 - 1)
        start, length = answer >> 32, answer & 0xFFFFFFFF
        return bytes(memory.read(self._store, start, start + length))


def opened(make: Callable[[], Module], name: str, encoding: Any, batch: pa.RecordBatch) -> tuple[Module, bytes]:
    """An instance with an open component, and the request with the batch."""
    module = make()
    words = {"op": "open", "instance": 1, "component": f"processor:{name}", "encoding": encoding}
    answer = Frame.unpack(module.call(Frame({**words, "schemas": {"": Schema(batch.schema).as_json()}}).pack()))
    assert answer.header == {}, answer.header
    return module, Frame({"op": "process", "instance": 1, "part": 0}, [encode(Batch(batch), encoding)]).pack()


def main() -> None:
    """Build, measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plugin.wasm"
        words = ["go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", str(path), "."]
        environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOPROXY": "off"}
        subprocess.run(words, cwd=PLUGIN, env=environment, check=True)
        config = wasmtime.Config()
        config.epoch_interruption = True
        engine = wasmtime.Engine(config)
        compiled = wasmtime.Module.from_file(engine, str(path))
        print(f"module: {path.stat().st_size / 1e6:.2f} MB")

    def make() -> Module:
        return Module(engine, compiled)

    batch = records(ROWS)
    ways = {way: (*opened(make, *way, batch), opened(make, *way, batch.slice(0, 0))) for way in WAYS}
    times: dict[tuple[str, str], list[float]] = {way: [] for way in WAYS}
    empty: dict[tuple[str, str], list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, (module, request, (other, none)) in ways.items():
            for of, asked, kept in ((module, request, times), (other, none, empty)):
                started = time.perf_counter()
                of.call(asked)
                kept[way].append(time.perf_counter() - started)
    print(f"{'way':16} {'batch':>9} {'records/s':>11} {'none':>8} {'1,000':>8} {'2,000 batches':>13}")
    for way, (module, request, _) in ways.items():
        assert "error" not in Frame.unpack(module.call(request)).header
        sizes = []
        for _ in range(2):
            for _ in range(1_000):
                module.call(request)
            sizes.append(f"{module.size / 2**20:.1f} MiB")
        one, none_ = min(times[way]), min(empty[way])
        speed = f"{one * 1e3:6.2f} ms {ROWS / one:11,.0f} {none_ * 1e6:5.0f} us"
        print(f"{' '.join(way):16} {speed} {sizes[0]:>8} {sizes[1]:>13}")


if __name__ == "__main__":
    main()
