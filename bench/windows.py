"""Windows and joins: the steps by themselves, and a flow beside Polars and DuckDB: ``python bench/windows.py``.

The flow is compared as whole processes on the same work; a figure stands only if all results agree.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import data
import pyarrow.parquet as pq
from measure import alternate, table
from run import dataflare, peer

from dataflare import Batch
from dataflare.testing import Bench
from dataflare_std.join.step import Join
from dataflare_std.window.step import Window

BATCH, EPOCH = 1 << 16, 8
"""Rows of a batch, and batches of an epoch."""
SHAPES = {
    "tumbling 1m": {"size": "1m"},
    "sliding 5m each 1m": {"size": "5m", "slide": "1m"},
    "sessions, gap 1s": {"gap": "1s"},
}
WHOLE = {"readings": "count(*)", "total": "sum(pieces)", "most": "max(pieces)"}
FLOATS = {**WHOLE, "mean": "avg(temperature)"}


def result(folder: Path) -> tuple[int, str]:
    """Rows and an order-free digest; means as far as all libraries add alike."""
    import duckdb

    found = duckdb.execute(
        "select count(*), sum(hash((device, epoch_us(window_start), readings, total::bigint, round(mean, 6), most))"
        f"::hugeint) % 18446744073709551616::hugeint from '{folder}/out.parquet'"
    ).fetchone()
    assert found is not None
    return int(found[0]), f"{int(found[1]):016x}"


def batches(devices: int) -> list[Batch]:
    """A million readings, a hundred a second."""
    rows = pq.read_table(data.minutes(1_000_000, devices)).combine_chunks()
    return [Batch(part) for part in rows.to_batches(BATCH)]


def window(given: list[Batch], **config: object) -> float:
    """Seconds of one step over all batches, with a watermark after each and a barrier every few."""
    schema = {"": given[0].schema}
    with Bench(Window, schemas=schema, time="ts", by="device", **config) as bench:
        begun = time.perf_counter()
        for number, batch in enumerate(given):
            bench.driver.process(batch)
            bench.driver.watermark(batch["ts"][-1].as_py())
            if number % EPOCH == EPOCH - 1:
                bench.driver.barrier()
                bench.state.apply()
        bench.driver.finish()
        return time.perf_counter() - begun


def join(given: list[Batch]) -> float:
    """Seconds of a join of the readings with themselves, a tenth of a second around each."""
    schemas = {"left": given[0].schema, "right": given[0].schema}
    with Bench(Join, schemas=schemas, on="device", time="ts", within="100ms") as bench:
        begun = time.perf_counter()
        for number, batch in enumerate(given):
            for side in schemas:
                bench.driver.process(batch, side)
            bench.driver.watermark(batch["ts"][-1].as_py() - timedelta(seconds=1))
            if number % EPOCH == EPOCH - 1:
                bench.driver.barrier()
                bench.state.apply()
        bench.driver.finish()
        return time.perf_counter() - begun


def rate(name: str, rows: int, run: Callable[[], float], rounds: int) -> None:
    """A line of the table: the median of several runs, after one that warms up."""
    seconds = statistics.median([run() for _ in range(rounds + 1)][1:])
    print(f"| {name} | {rows / seconds / 1e6:.2f} |")


def main() -> None:
    """The steps, then the flow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("## Windows and joins: the steps by themselves, a million rows\n\n| step | M rows/s |\n|---|---|")
    for devices in (100, 10_000):
        given = batches(devices)
        for name, shape in SHAPES.items():
            for kind, aggregates in (("whole numbers", WHOLE), ("with a mean of floats", FLOATS)):
                title = f"{name}, {devices:,} keys, {kind}"
                rate(title, 1_000_000, partial(window, given, aggregates=aggregates, **shape), rounds)
        rate(f"join with itself, {devices:,} keys", 2_000_000, partial(join, given), rounds)
    source = data.minutes(10_000_000, 1000)
    contenders = [
        dataflare("DataFlare", "windows.yaml", source, result),
        peer("DuckDB", "windows_duckdb.py", source, result),
        peer("Polars", "windows_polars.py", source, result),
        peer("DuckDB again (A/A)", "windows_duckdb.py", source, result),
    ]
    print("\n## Windows of a minute, ten million rows of Parquet, whole processes\n")
    print(table(alternate(contenders, rounds), 10_000_000, "DuckDB"))


if __name__ == "__main__":
    main()
