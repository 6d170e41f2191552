"""Benchmarks on the same work as DuckDB, Polars and plain Python, and of the stores: ``python bench/run.py [NAME]``.

Every table comes from one alternating run; a figure stands only if all results agree. Needs ``.[bench]``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import data
import stores
from digests import json_lines, last_number
from measure import Contender, alternate, table

HERE = Path(__file__).parent
OUT = HERE / "out"
DATAFLARE = str(Path(sys.executable).with_name("dataflare"))
# Times are compared as times (DuckDB writes them in its own way), results as far as all libraries divide alike.
ROW_COLUMNS = "(id, epoch_us(ts), device, temperature, humidity, status, tags, site, round(fahrenheit, 6))"
ROWS_OF_CHECKPOINT = 8_000_000
SLOW_SINK = '''
import time
from dataflare import Batch, sink

@sink
def crawl(batch: Batch, *, rate: float = 1e6):
    """Takes `rate` bytes a second."""
    time.sleep(batch.nbytes / rate)
'''


def dataflare(name: str, flow: str, source: Path, result: object, interval: str = "1s", state: str = "") -> Contender:
    """A flow of ``bench/flows``, run by the command line from nothing; ``state`` is a line of YAML, `$$` in it new."""
    folder = OUT / name.replace(" ", "-")
    script = f'cp {HERE / "flows" / flow} . && echo "{state}" >> {flow} && exec {DATAFLARE} run {flow} --json'
    environment = {"BENCH_INPUT": str(source), "BENCH_INTERVAL": interval}
    return Contender(name, ["sh", "-c", script], folder, result, environment)  # type: ignore[arg-type]


def peer(name: str, script: str, source: Path, result: object) -> Contender:
    """A script of ``bench/peers``."""
    command = [sys.executable, str(HERE / "peers" / script), str(source)]
    return Contender(name, command, OUT / name.replace(" ", "-"), result)  # type: ignore[arg-type]


def w1(rounds: int) -> None:
    """A million JSON lines: filter, compute, write JSON lines; ours exactly once, with a checkpoint each second."""
    source, result = data.readings(), json_lines("out.jsonl", ROW_COLUMNS)
    contenders = [
        dataflare("DataFlare", "w1.yaml", source, result),
        peer("DuckDB", "w1_duckdb.py", source, result),
        peer("Polars", "w1_polars.py", source, result),
        peer("Python + orjson", "w1_python.py", source, result),
        peer("DuckDB again (A/A)", "w1_duckdb.py", source, result),
    ]
    print("## W1: 1,000,000 JSON lines, whole processes\n")
    print(table(alternate(contenders, rounds), 1_000_000, "DuckDB"))


def w2(rounds: int) -> None:
    """Twenty million rows of Parquet: filter, compute, count."""
    source = data.columns()
    contenders = [
        dataflare("DataFlare", "w2.yaml", source, last_number),
        peer("DuckDB", "w2_duckdb.py", source, last_number),
        peer("Polars", "w2_polars.py", source, last_number),
    ]
    samples = alternate(contenders, rounds)
    print("## W2: 20,000,000 rows of Parquet, whole processes\n")
    print(table(samples, 20_000_000, "DuckDB"))
    cpu = statistics.median(sample.cpu for sample in samples["DataFlare"])
    print(f"\nDataFlare: {20 / cpu:.1f} million rows a second and core (CPU seconds of the whole process)")


def checkpoint(rounds: int, store: str = "sqlite") -> None:
    """What a checkpoint each second costs eight times W1, against one at the end only: W1 itself takes no second.

    Into a folder, where an epoch becomes files, and into one file, to which the bytes of an epoch are copied.
    """
    source = data.readings(ROWS_OF_CHECKPOINT)
    folder, file = json_lines("out/*", ROW_COLUMNS), json_lines("out.jsonl", ROW_COLUMNS)
    with stores.state_line(store) as state:
        contenders = [
            dataflare("one epoch", "w1_folder.yaml", source, folder, "1h", state),
            dataflare("each second", "w1_folder.yaml", source, folder, "1s", state),
            dataflare("ten a second", "w1_folder.yaml", source, folder, "100ms", state),
            dataflare("one epoch again (A/A)", "w1_folder.yaml", source, folder, "1h", state),
            dataflare("one file, one epoch", "w1.yaml", source, file, "1h", state),
            dataflare("one file, each second", "w1.yaml", source, file, "1s", state),
        ]
        samples = alternate(contenders, rounds)
    print(f"## Checkpoints in W1, kept by state/{store}\n")
    print(table(samples, ROWS_OF_CHECKPOINT, "one epoch"))


def memory(seconds: int) -> None:
    """Peak memory of W1 with a sink that takes 1 MB a second, on files of two sizes, watched for a while."""
    print("## Memory of W1 with a sink of 1 MB/s\n\n| file | peak RSS MB |\n|---|---|")
    for rows in (1_000_000, 4_000_000):
        source = data.readings(rows)
        print(f"| {source.stat().st_size / 1e6:,.0f} MB | {_peak(source, seconds):,.0f} |")


def _peak(source: Path, seconds: int) -> float:
    folder = OUT / "memory"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = (HERE / "flows" / "w1.yaml").read_text()
    head = text[: text.index("sinks:")]
    (folder / "slow.py").write_text(SLOW_SINK)
    (folder / "w1.yaml").write_text(head + "sinks:\n  out: {uses: ./slow.py/crawl, from: fahrenheit}\n")
    environment = {**os.environ, "BENCH_INPUT": str(source), "BENCH_INTERVAL": "1s"}
    process = os.posix_spawn(
        DATAFLARE, [DATAFLARE, "run", str(folder / "w1.yaml"), "--quiet"], environment
    )  # fmt: skip
    until, peak = time.monotonic() + seconds, 0.0
    while time.monotonic() < until:
        status = Path(f"/proc/{process}/status").read_text()
        peak = max(
            peak, float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
        )
        time.sleep(0.2)
    os.kill(process, 15)
    os.kill(process, 15)
    os.waitpid(process, 0)
    return peak


BENCHMARKS = {
    "w1": w1, "w2": w2, "checkpoint": checkpoint, "memory": memory, "keys": stores.keys, "splits": stores.splits
}  # fmt: skip


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; one more warms the caches")
    parser.add_argument("--seconds", type=int, default=30, help="how long `memory` watches each file")
    parser.add_argument("--store", choices=stores.NAMES, default="sqlite", help="the store of `checkpoint`")
    given = parser.parse_args()
    for name in given.which or BENCHMARKS:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark `{name}`: {', '.join(BENCHMARKS)}")
        if name == "memory":
            memory(given.seconds)
        elif name == "checkpoint":
            checkpoint(given.rounds, given.store)
        else:
            BENCHMARKS[name](given.rounds)
        print()


if __name__ == "__main__":
    main()
