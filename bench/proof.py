"""What the proof of no loss costs, by kind of column and in W1: ``python bench/proof.py [ROUNDS]``.

"Without" is W1 with the digest replaced by nothing, in this program only: there is no switch.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import data
from digests import json_lines
from measure import Contender, alternate, table
from run import HERE, OUT, ROW_COLUMNS

WITHOUT = "import dataflare_pipeline.work as work; work.digest = lambda rows: 0"
RUN = "import sys; {}; from dataflare_host.cli import main; sys.exit(main(['run', 'w1.yaml', '--json']))"


def by_column(source: Path, rows: int = 45_000, times: int = 40) -> None:
    """Single-threaded CPU time of the digest of one batch as W1 has it, and of each column alone."""
    os.environ["POLARS_MAX_THREADS"] = "1"
    import duckdb

    from dataflare.digest import digest

    with duckdb.connect() as connection:
        batch = connection.sql(f"from read_json('{source}') limit {rows}").to_arrow_table().combine_chunks()
    (whole,) = batch.to_batches()
    print(f"## Digest of {rows:,} rows\n\n| columns | ns a row |\n|---|---|")
    for names in (whole.schema.names, *([name] for name in whole.schema.names)):
        part = whole.select(names)
        digest(part)
        began = time.process_time()
        for _ in range(times):
            digest(part)
        spent = (time.process_time() - began) / times / rows * 1e9
        what = "all eight" if len(names) > 1 else f"`{names[0]}`: {part.schema.field(0).type}"
        print(f"| {what} | {spent:.1f} |")


def w1(source: Path, rounds: int) -> None:
    """W1 with and without digests, alternating."""
    result = json_lines("out.jsonl", ROW_COLUMNS)

    def contender(name: str, first: str) -> Contender:
        script = f'cp {HERE / "flows" / "w1.yaml"} . && exec {sys.executable} -c "{RUN.format(first)}"'
        environment = {"BENCH_INPUT": str(source), "BENCH_INTERVAL": "1s"}
        return Contender(name, ["sh", "-c", script], OUT / name.replace(" ", "-"), result, environment)  # type: ignore[arg-type]

    contenders = [contender("with", "pass"), contender("without", WITHOUT), contender("without again", WITHOUT)]
    print("\n## Digests in W1\n")
    samples = alternate(contenders, rounds)
    print(table(samples, 1_000_000, "without"))
    for name in ("with", "without again"):
        ratios = [mine.cpu / other.cpu for mine, other in zip(samples[name], samples["without"], strict=True)]
        print(f"CPU of `{name}`: {statistics.median(ratios):.3f} × without")


if __name__ == "__main__":
    made = data.readings()
    by_column(made)
    w1(made, int(sys.argv[1]) if len(sys.argv) > 1 else 7)
