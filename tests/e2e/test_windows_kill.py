"""Windows and joins of flows that are killed again and again: each row once, as if nothing had happened."""

import json
import random
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest

FLOW = """\
version: 1
name: windows
time: {column: at, lateness: 3s}
sources:
  readings:
    uses: std/files
    lanes: 4
    with: {path: data/*.jsonl, block: 4096, SPLIT, schema: {at: timestamp(utc), device: text, value: float}}
steps:
  minutes:
    uses: std/window
    from: readings
    lanes: 2
    with: {time: at, size: 10s, SLIDE, by: device, aggregates: {rows: count(*), total: sum(value)}}
sinks:
  out: {uses: std/files, from: minutes, with: {path: out.jsonl}}
checkpoint: {interval: 5ms, rows: 500}
"""
START = datetime(2026, 1, 1, tzinfo=UTC)
Windows = dict[tuple[str, float], tuple[int, float]]


def readings(folder: Path, rows: int) -> list[dict[str, Any]]:
    """Rows of a few devices in four files; none is later than two seconds."""
    drawn, made = random.Random(5), []
    (folder / "data").mkdir()
    for file in range(4):
        lines = []
        for n in range(rows):
            at = START + timedelta(seconds=n / 10 - drawn.random() * 2)
            row = {"at": at.isoformat(), "device": drawn.choice("abcde"), "value": drawn.random()}
            lines.append(json.dumps(row))
            made.append({**row, "at": at.timestamp()})
        (folder / "data" / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    return made


def expected(rows: list[dict[str, Any]], slide: int) -> Windows:
    windows: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        first = row["at"] // slide * slide
        for start in range(int(first), int(first) - 10, -slide):
            if start + 10 > row["at"]:
                windows[row["device"], start].append(row["value"])
    return {key: (len(values), fsum(values)) for key, values in windows.items()}


def given(folder: Path) -> Windows:
    found: Windows = {}
    for line in (folder / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        key = row["device"], datetime.fromisoformat(row["window_start"]).timestamp()
        assert key not in found
        found[key] = row["rows"], row["total"]
    return found


KILLS = (("barrier:2", "decided:2", "committed:2"), ("align:2", "sink-commit:2", "commit-point:2"))


def killed_and_finished(flow: Path, start: Callable[..., "subprocess.Popen[str]"], seed: int) -> None:
    """Runs a flow that is killed at three places, then once more to its end; nothing is refused."""
    codes = []
    for point in KILLS[seed % 2]:
        running = start("run", str(flow), "--json", DATAFLARE_CRASH=point)
        running.communicate(timeout=60)
        codes.append(running.returncode)
    assert codes == [-signal.SIGKILL] * 3
    done = start("run", str(flow), "--json")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, out + err
    assert json.loads(out.splitlines()[-1])["rows"]["rejected"] == 0


@pytest.mark.parametrize(("slide", "split"), [(10, "split_size: 64KiB"), (5, "ordered: true")])
def test_windows_of_a_killed_flow_are_those_of_an_undisturbed_one(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"], slide: int, split: str
) -> None:
    rows = readings(tmp_path, 2_000)
    text = FLOW.replace("SPLIT", split).replace("SLIDE", f"slide: {slide}s")
    (tmp_path / "flow.yaml").write_text(text)
    killed_and_finished(tmp_path / "flow.yaml", start, slide)
    assert given(tmp_path) == expected(rows, slide)


JOIN = """\
version: 1
name: joins
time: {column: at, lateness: 3s}
sources:
  orders: {uses: std/files, with: {path: data/0.jsonl, block: 4096, schema: {at: timestamp(utc), device: text}}}
  paid: {uses: std/files, with: {path: data/1.jsonl, block: 4096, schema: {at: timestamp(utc), device: text}}}
steps:
  named:
    uses: std/join
    from: orders
    with: {table: {uses: std/files, with: {path: names.csv}}, on: device, how: left}
  both:
    uses: std/join
    from: {left: named, right: paid}
    lanes: 2
    with: {on: device, time: at, within: 1s, how: left}
sinks:
  out: {uses: std/files, from: both, with: {path: out.jsonl}}
checkpoint: {interval: 5ms, rows: 300}
"""


def test_pairs_of_a_killed_flow_are_those_of_an_undisturbed_one(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    rows = readings(tmp_path, 2_000)
    (tmp_path / "names.csv").write_text("device,name\na,first\nb,second\n")
    (tmp_path / "flow.yaml").write_text(JOIN)
    killed_and_finished(tmp_path / "flow.yaml", start, 1)
    names = {"a": "first", "b": "second"}
    pairs: Counter[tuple[str, float, str | None, float | None]] = Counter()
    paid = rows[2_000:4_000]
    for order in rows[:2_000]:
        near = [row["at"] for row in paid if row["device"] == order["device"] and abs(row["at"] - order["at"]) <= 1]
        for at in near or [None]:
            pairs[order["device"], order["at"], names.get(order["device"]), at] += 1
    found: Counter[tuple[str, float, str | None, float | None]] = Counter()
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        at = row["right_at"] and datetime.fromisoformat(row["right_at"]).timestamp()
        found[row["device"], datetime.fromisoformat(row["at"]).timestamp(), row["name"], at] += 1
    assert found == pairs
