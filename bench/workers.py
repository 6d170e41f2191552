"""What a process of its own costs a Python plugin: bytes a second by pipe and by shared memory, start, disk.

``python bench/workers.py [--rounds N]``. Pipes and shared memory take turns in every round; told are the median of a
call and the best, which on a busy machine says more of the code.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from dataflare import Batch
from dataflare.guest import Frame
from dataflare.guest.encoding import decode, encode
from dataflare.guest.shared import SHARED_FROM
from dataflare.schema import Schema
from dataflare_worker.environments import Environments
from dataflare_worker.process import Launch
from dataflare_worker.transport import ProcessTransport

PLUGIN = """
from dataflare import Batch, Sink, processor

@processor
def same(batch: Batch) -> Batch:
    return batch

class Nothing(Sink):
    def write(self, batch: Batch) -> None:
        pass
"""
ROWS = {"1 row": 1, "1,000 rows": 1_000, "10,000 rows": 10_000, "1 MB": 65_000, "4 MB": 260_000, "16 MB": 1_000_000}


def batch_of(rows: int) -> pa.RecordBatch:
    """Two columns of numbers: sixteen bytes a row."""
    return pa.record_batch({"n": pa.array(range(rows)), "x": pa.array([0.5] * rows)})


class Worker:
    """A guest with an open processor and an open sink."""

    def __init__(self, python: Path, folder: Path, shared_from: int | None) -> None:
        self.transport = ProcessTransport(
            Launch("bench", python, ["bench_plugin"], [folder], memory=4 << 30, shared_from=shared_from)
        )
        for number, component in ((1, "processor:same"), (2, "sink:nothing")):
            schemas = {"": Schema(batch_of(1).schema).as_json()}
            words = {"op": "open", "instance": number, "component": component, "encoding": "arrow", "schemas": schemas}
            self.ask(Frame(words))

    def ask(self, frame: Frame) -> Frame:
        answer = self.transport.call(frame, lambda question: Frame({}), 60)
        assert "error" not in answer.header, answer.header
        return answer

    def both_ways(self, batch: pa.RecordBatch) -> None:
        """A batch goes there and comes back, checked as the host checks it."""
        answer = self.ask(
            Frame({"op": "process", "instance": 1, "part": 0}, [encode(Batch(batch), "arrow", self.transport.room)])
        )
        assert len(decode(answer.parts[0], "arrow")) == len(batch)

    def there(self, batch: pa.RecordBatch) -> None:
        """A batch goes there."""
        part = encode(Batch(batch), "arrow", self.transport.room)
        self.ask(Frame({"op": "write", "instance": 2, "part": 0}, [part]))


def seconds_of(call: Callable[[], object], times: int) -> list[float]:
    """Seconds of each call."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return taken


def traffic(python: Path, folder: Path, rounds: int) -> None:
    """Bytes a second: all that cross, in both directions."""
    ways = {"pipes": None, "shared": SHARED_FROM}
    workers = {name: Worker(python, folder, least) for name, least in ways.items()}
    print(f"{'batch':<20}" + "".join(f"{name + ': median, best':>34}" for name in ways) + f"{'ratio':>8}")
    for name, rows in ROWS.items():
        batch = batch_of(rows)
        for label, directions, call in (("there", 1, Worker.there), ("and back", 2, Worker.both_ways)):
            found: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(rounds + 1):
                for way, worker in workers.items():
                    taken = seconds_of(partial(call, worker, batch), 10)
                    found[way] += taken if number else []
            median = {way: statistics.median(taken) for way, taken in found.items()}
            crossed = directions * batch.nbytes / 1e9
            told = "".join(
                f"{1e6 * median[way]:>10,.0f} µs {crossed / median[way]:>5.2f} {crossed / min(taken):>5.2f} GB/s"
                for way, taken in found.items()
            )
            print(f"{name:<11}{label:>9}{told}{median['pipes'] / median['shared']:>8.2f}")
    for worker in workers.values():
        worker.transport.close()


def starting(python: Path, folder: Path, rounds: int) -> None:
    """From nothing to the answer to `describe`, and to the end."""

    def start() -> ProcessTransport:
        made = ProcessTransport(Launch("bench", python, ["bench_plugin"], [folder], memory=4 << 30))
        made.call(Frame({"op": "describe"}), lambda question: Frame({}), 60)
        return made

    started: list[ProcessTransport] = []
    took = seconds_of(lambda: started.append(start()), rounds + 3)
    ended = [seconds_of(guest.close, 1)[0] for guest in started]
    alone = [python, "-I", "-c", "import pyarrow"]
    bare = seconds_of(lambda: subprocess.run(alone, check=True), rounds)
    print(
        f"start to `describe` {1000 * statistics.median(took[1:]):.0f} ms (best {1000 * min(took):.0f}), "
        f"end {1000 * statistics.median(ended):.0f} ms, "
        f"an interpreter with pyarrow alone {1000 * statistics.median(bare):.0f} ms (best {1000 * min(bare):.0f})"
    )


def disk(folder: Path) -> None:
    """What a first and a second environment take, with a distribution of 100 MB that both have."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from worker.projects import write_wheel

    index = folder / "index"
    write_wheel(index, "large_for_bench", "1.0", {"large/__init__.py": "", "large/data.txt": "x" * 100_000_000})
    for version in ("1.0", "2.0"):
        write_wheel(index, "small_for_bench", version, {"small.py": f"version = {version!r}\n"})
    os.environ |= {"PIP_FIND_LINKS": str(index), "UV_FIND_LINKS": str(index), "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    for installer in ("uv", "pip"):
        root = folder / installer
        os.environ["UV_CACHE_DIR"] = str(root / "cache")
        environments, sizes = Environments(root, installer=installer), [0]
        for requirement in ("small-for-bench<2", "small-for-bench>=2"):
            begun = time.perf_counter()
            environments.python(["dataflare-sdk", "large-for-bench", requirement], "bench")
            took = time.perf_counter() - begun
            sizes.append(used(root))
            print(f"environment by {installer}: {(sizes[-1] - sizes[-2]) / 1e6:.2f} MB, {took:.2f} s")


def used(folder: Path) -> int:
    """Bytes on disk; a file that is linked several times counts once."""
    seen = {}
    for place, _, files in os.walk(folder):
        for name in files:
            told = os.lstat(Path(place, name))
            seen[told.st_dev, told.st_ino] = told.st_blocks * 512
    return sum(seen.values())


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "bench_plugin.py").write_text(PLUGIN)
        begun = time.perf_counter()
        python = Environments(folder / "environments").python(["dataflare-sdk"], "bench")
        print(f"environment with the SDK: {used(folder) / 1e6:.2f} MB, {time.perf_counter() - begun:.2f} s")
        starting(python, folder, rounds)
        traffic(python, folder, rounds)
        disk(folder)


if __name__ == "__main__":
    main()
