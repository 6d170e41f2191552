"""Runs commands in turn and compares them: wall time, CPU time, peak memory, and what they wrote."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run of one command: seconds, CPU seconds, peak resident MB, and the digest of its result."""

    wall: float
    cpu: float
    memory: float
    digest: tuple[int, str]


@dataclass(frozen=True)
class Contender:
    """A command to measure; ``result`` reads what it left behind as (rows, digest)."""

    name: str
    command: Sequence[str]
    folder: Path
    result: Callable[[Path], tuple[int, str]]
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> Sample:
        """Run it once in an empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        begun = time.perf_counter()
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                self.command, cwd=self.folder, env={**environment, **self.environment}, stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        if status:
            raise SystemExit(f"{self.name} failed:\n{(self.folder / 'log').read_text()}")
        digest = self.result(self.folder)
        return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, digest)


def alternate(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Sample]]:
    """Every contender once a round, in turn; raises where two results differ. The first round only warms caches."""
    samples: dict[str, list[Sample]] = {each.name: [] for each in contenders}
    for number in range(rounds + 1):
        for each in contenders:
            sample = each.run()
            if number:
                samples[each.name].append(sample)
        print(f"round {number}/{rounds}", file=sys.stderr)
    digests = {name: {sample.digest for sample in found} for name, found in samples.items()}
    if len(set().union(*digests.values())) != 1:
        raise SystemExit(f"void: the results differ: {digests}")
    return samples


def table(samples: Mapping[str, Sequence[Sample]], rows: int, against: str) -> str:
    """A Markdown table; the ratio is the median of the ratios within each round."""
    lines = [
        f"| what | wall s | rows/s | CPU s | RSS MB | × {against} |",
        "|---|---|---|---|---|---|",
    ]
    base = samples[against]
    for name, found in samples.items():
        wall = statistics.median(sample.wall for sample in found)
        cpu = statistics.median(sample.cpu for sample in found)
        memory = statistics.median(sample.memory for sample in found)
        ratio = statistics.median(mine.wall / other.wall for mine, other in zip(found, base, strict=True))
        lines.append(f"| {name} | {wall:.2f} | {rows / wall / 1000:,.0f}k | {cpu:.2f} | {memory:.0f} | {ratio:.2f} |")
    count, digest = base[0].digest
    lines.append(f"\n{count:,} rows in every result, digest {digest}")
    return "\n".join(lines)
