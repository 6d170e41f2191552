"""State taken over from an older version by a guest: ``python bench/migrate.py [VALUES] [ROUNDS]``.

The golden plugins of the contract's releases, each taking the same values over: those of 1.0 are asked value by value,
those since 1.1 a thousand at a time. Rounds alternate; all must give the same values. On a busy machine the ratios
still tell.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from golden.starts import RELEASES, STARTS, hosted

from dataflare.context import Context
from dataflare.drive import ProcessorDriver

OLD, NEW = "api-1.0-ledger", "api-1.1"
AT_ONCE = 1_000
LANGUAGES = {
    "Python, a worker": "python",
    "Go, WASM": "go",
    "TypeScript, SpiderMonkey": "starling",
    "TypeScript, QuickJS": "quickjs",
}


def driver_of(release: str, start: str, folder: Path) -> ProcessorDriver:
    """The ledger of a release, asked in passing of a running guest."""
    (place,) = (each for each in RELEASES if each.name == release)
    folder.mkdir()
    _, classes = hosted(lambda: STARTS[start](place, folder))
    driver = ProcessorDriver(classes["processor:ledger"](), Context())
    driver.plan({})
    return driver


def taken(driver: ProcessorDriver, values: list[Any]) -> float:
    """Seconds to take the values over, as the engine does."""
    began = time.perf_counter()
    made = []
    for first in range(0, len(values), AT_ONCE):
        made += driver.migrate_states(1, "sums", values[first : first + AT_ONCE])
    took = time.perf_counter() - began
    assert made == [{"sum": value} for value in values]
    return took


def main() -> None:
    """Print the table."""
    number, rounds = (int(sys.argv[n]) if len(sys.argv) > n else default for n, default in ((1, 20_000), (2, 5)))
    values = list(range(number))
    print(f"| {number:,} values | contract 1.0, s | 1.1, s | times |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, start in LANGUAGES.items():
            pair = [driver_of(each, start, Path(folder, f"{start}-{each}")) for each in (OLD, NEW)]
            for driver in pair:
                taken(driver, values[:AT_ONCE])
            spent = [[taken(driver, values) for driver in pair] for _ in range(rounds)]
            old, new = (statistics.median(each[n] for each in spent) for n in (0, 1))
            ratio = statistics.median(before / after for before, after in spent)
            print(f"| {name} | {old:.2f} | {new:.3f} | {ratio:.0f} |", flush=True)


if __name__ == "__main__":
    main()
