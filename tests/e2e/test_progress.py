"""The progress of a run: what the line says, and when it is shown."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare_commands import progress
from dataflare_commands.progress import Display, duration
from dataflare_host.cli.output import as_text, table

ENDLESS = """\
version: 1
name: demo
sources:
  numbers: {uses: ./shop.py/endless}
sinks:
  out: {uses: ./shop.py/save, from: numbers, with: {path: out.jsonl}}
"""


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def status(read: int, done: float = 0, total: float | None = None, **more: object) -> dict:
    rows = {"read": read, "written": read // 2, "rejected": 0}
    return {"status": "running", "epoch": 3, "rows": rows, "progress": {"done": done, "total": total}, **more}


def test_the_line_names_steps_that_keep_failing(clock: Clock) -> None:
    display = Display()
    display(status(0))
    circuit = {"state": "half_open", "next_try": "2026-11-24T10:11:12.5+00:00"}
    steps = {"send": {"circuit": circuit}, "calm": {"circuit": {"state": "closed"}}}
    line = display.line(status(1, steps=steps))
    assert "send: circuit half-open, next try 10:11:12" in line
    assert "calm" not in line


def test_the_line_has_rows_rate_share_and_what_is_left(clock: Clock) -> None:
    display = Display()
    display(status(0))
    clock.now += 2
    now = status(2_000, done=25, total=100)
    display(now)
    line = display.line(now)
    assert "read 2,000 (1,000/s)" in line
    assert "written 1,000" in line
    assert "epoch 3" in line
    assert "25 %" in line
    assert "ETA 6.0 s" in line


def test_rates_are_those_of_the_last_seconds(clock: Clock) -> None:
    display = Display()
    for second in range(20):
        display(status(1_000_000 if second < 5 else 1_000_000 + second * 10))
        clock.now += 1
    assert "(10/s)" in display.line(status(1_000_190))


def test_lag_rejects_and_problems_are_told(clock: Clock) -> None:
    display = Display()
    problem = {"code": "sink.retry", "message": "the disk is full"}
    now = status(5, lag={"a": 3, "b": None}, problem=problem)
    now["rows"]["rejected"] = 1
    display(now)
    line = display.line(now)
    assert "lag 3" in line
    assert "rejected 1" in line
    assert "sink.retry: the disk is full" in line


def test_without_a_terminal_there_is_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    for _ in range(120):
        display(status(1))
        clock.now += 0.1
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_short_run_shows_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display(status(1))
        clock.now += 0.5
        display(status(2))
    assert capsys.readouterr().err == ""


def test_on_a_terminal_the_line_is_live(shop: Path) -> None:
    (shop / "flow.yaml").write_text(ENDLESS)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dataflare_host", "run", "flow.yaml"]
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=variables)
    os.close(theirs)
    shown = b""
    while b"running  read" not in shown:
        shown += os.read(ours, 65536)
    process.terminate()
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        pass  # the terminal's other side is closed
    assert process.wait(30) == 0
    assert b"\x1b[2K" in shown
    assert b"stopped" in shown
    os.close(ours)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.123, "0.12 s"), (7.25, "7.2 s"), (59.94, "59.9 s"), (125, "2:05"), (3725, "1:02:05")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_answers_for_people() -> None:
    assert as_text({"a": 1, "b": {"c": "x", "none": None}, "empty": []}) == "a: 1\nb:\n  c: x"
    assert as_text([{"n": 1, "t": "one"}, {"n": 2, "u": [1, 2]}]).splitlines()[1:] == ["1  one", "2       1, 2"]
    assert as_text([{"n": 1, "deep": {"a": {"b": 1}}}]) == "- n: 1\n  deep:\n    a:\n      b: 1"
    assert as_text(None) == ""
    assert table([]) == ""
