"""Windows of a flow that is killed again and again: each of them once, as if nothing had happened."""

import json
import random
import signal
import subprocess
from collections import defaultdict
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


KILLS = ("first-batch", "barrier:3", "commit-point:4", "decided:3", "sink-commit:5", "committed:2", "recovery")


@pytest.mark.parametrize(("slide", "split"), [(10, "split_size: 64KiB"), (5, "ordered: true")])
def test_windows_of_a_killed_flow_are_those_of_an_undisturbed_one(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"], slide: int, split: str
) -> None:
    rows = readings(tmp_path, 2_000)
    text = FLOW.replace("SPLIT", split).replace("SLIDE", f"slide: {slide}s")
    (tmp_path / "flow.yaml").write_text(text)
    codes = []
    for point in random.Random(slide).sample(KILLS, 3):
        running = start("run", str(tmp_path / "flow.yaml"), "--json", DATAFLARE_CRASH=point)
        running.communicate(timeout=60)
        codes.append(running.returncode)
    assert codes.count(-signal.SIGKILL) >= 2
    done = start("run", str(tmp_path / "flow.yaml"), "--json")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, out + err
    assert json.loads(out.splitlines()[-1])["rows"]["rejected"] == 0
    assert given(tmp_path) == expected(rows, slide)
