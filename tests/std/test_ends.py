"""count, null, stdio and profile."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflare import Batch, ConfigError, Context, Demand, Failed, Resume, Schema, Split
from dataflare.drive import NO_POSITION, SinkDriver, SourceDriver, ToolDriver, driver_for
from dataflare_std.ends import Count, Null
from dataflare_std.profile import Profile
from dataflare_std.stdio import StdioSink, StdioSource


def sink(component: Any, resume: Resume = Resume(), lane: int = 0) -> SinkDriver:
    driver = driver_for(component, Context(lane=lane))
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def test_the_count_of_all_lanes_is_committed_and_carried_on() -> None:
    lanes = [sink(Count(), lane=lane) for lane in range(2)]
    lanes[0].write(Batch.of({"n": [1, 2, 3]}))
    lanes[1].write(Batch.of({"n": [4]}))
    tokens = [each.prepare(1, False) for each in lanes]
    lanes[0].write(Batch.of({"n": [5]}))
    lanes[0].commit(1, tokens)
    assert [batch.to_rows() for batch in lanes[0].readback()] == [[{"rows": 4}]]
    again = sink(Count(), Resume(epoch=1, tokens={"0": tokens[0], "1": tokens[1]}))
    again.write(Batch.of({"n": [6, 7]}))
    assert again.prepare(2, True) == 6


def test_neither_count_nor_null_reads_a_column() -> None:
    schema = Schema({"n": int})
    assert Count().needs(schema) == Null().needs(schema) == frozenset()
    assert sink(Null()).write(Batch.of({"n": [1]})) == []


def read_stdin(monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], **config: Any) -> tuple[list[Any], list[Any]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        for piece in pieces:
            os.write(writing, piece)
        os.close(writing)
        monkeypatch.setattr(sys, "stdin", pipe)
        driver = driver_for(StdioSource(**config), Context())
        assert isinstance(driver, SourceDriver)
        assert driver.replay == "none"
        driver.open(Resume())
        split = next(split for found, _ in driver.splits(None, frozenset()) for split in found)
        rows, refused = [], []
        for step in driver.read(split, NO_POSITION, Demand(2, 1 << 20, time.monotonic() + 60), None):
            rows += step.batch.to_rows() if step.batch else []
            refused += step.refused
    return rows, refused


def test_lines_of_standard_input_are_rows_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, refused = read_stdin(monkeypatch, [b'{"n": 1}\n{"n"', b': 2}\n\n{"n": 3}\n{"n": 4}'])
    assert [row["n"] for row in rows] == [1, 2, 3, 4]
    assert refused == []


def test_lines_that_are_no_rows_are_refused_with_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b'{"n": "' + b"x" * 200 + b'"}\n'
    rows, refused = read_stdin(monkeypatch, [b'{"n": 1}\nnope\n[1]\n', long, b'\xff\n{"n": 2}\n'], max_line=100)
    assert [row["n"] for row in rows] == [1, 2]
    assert [(each.code, each.place["line"]) for each in refused] == [
        ("stdio.bad_json", 2),
        ("stdio.not_an_object", 3),
        ("stdio.line_too_long", 4),
        ("stdio.bad_json", 5),
    ]


def test_what_an_earlier_process_left_unread_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    driver = driver_for(StdioSource(), Context())
    assert isinstance(driver, SourceDriver)
    driver.open(Resume())
    demand = Demand(2, 1 << 20, time.monotonic() + 60)
    assert list(driver.read(Split("stdin-of-another-process"), NO_POSITION, demand, None)) == []


def test_nothing_to_read_is_idle_and_no_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"):
        monkeypatch.setattr(sys, "stdin", pipe)
        driver: Any = driver_for(StdioSource(), Context())
        driver.open(Resume())
        split = next(iter(driver.splits(None, frozenset())))[0][0]
        steps = driver.read(split, NO_POSITION, Demand(2, 1 << 20, time.monotonic()), None)
        assert next(steps).idle
        steps.close()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError) as caught:
        next(driver.read(split, NO_POSITION, Demand(2, 1 << 20, time.monotonic()), None))
    assert caught.value.code == "stdio.no_input"


def test_rows_are_written_as_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    out = sink(StdioSink())
    out.write(Batch.of({"n": [1, None], "s": ["é", "b"]}))
    out.commit(1, [])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"n": 1, "s": "é"},
        {"n": None, "s": "b"},
    ]


def test_an_output_that_nobody_reads_ends_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "w", buffering=1)
    monkeypatch.setattr(sys, "stdout", pipe)
    out = sink(StdioSink())
    with pytest.raises(Failed) as caught:
        out.write(Batch.of({"n": [1]}))
    assert caught.value.code == "stdio.closed"
    with pytest.raises(BrokenPipeError):
        pipe.close()


def test_a_full_output_is_told_and_an_unbuffered_one_gets_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    out = sink(StdioSink())
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        with pytest.raises(Failed) as caught:
            out.write(Batch.of({"s": ["x"]}))
        assert caught.value.code == "stdio.not_writable"
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())

    class Grudging(io.RawIOBase):
        """Takes seven bytes at a time."""

        taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.taken += bytes(data[:7])
            return min(7, len(data))

    grudging = Grudging()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(grudging, write_through=True))  # type: ignore[type-var]
    out.write(Batch.of({"s": ["a long text"]}))
    assert json.loads(grudging.taken) == {"s": "a long text"}


def profile(folder: Path, **given: Any) -> Any:
    driver = driver_for(Profile(), Context(base=folder))
    assert isinstance(driver, ToolDriver)
    driver.open(Resume())
    *progress, (last, answer) = driver.call(given)
    assert last
    assert all(not done for done, _ in progress)
    return answer


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "rows"])
def test_a_profile_says_what_each_column_is_like(tmp_path: Path, format: str) -> None:
    rows = [{"n": 1, "s": "a"}, {"n": 3, "s": "a"}, {"n": None, "s": "b"}]
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.csv").write_text("n,s\n1,a\n3,a\n,b\n")
    given: dict[str, Any] = {"rows": rows} if format == "rows" else {"path": f"r.{format}"}
    answer = profile(tmp_path, **given, top=1)
    number, text = answer["columns"]
    assert answer["rows"] == 3
    assert [number[part] for part in ("name", "nulls", "distinct", "min", "max", "mean")] == ["n", 1, 2, 1, 3, 2.0]
    assert number["top"] == [{"value": 1, "rows": 1}]
    assert (text["name"], text["distinct"], text["mean"], text["top"]) == ("s", 2, None, [{"value": "a", "rows": 2}])


def test_a_profile_shows_instants_in_utc(tmp_path: Path) -> None:
    lines = ['{"at": "2026-03-01T07:00:00+01:00"}', '{"at": "2026-03-02T06:00:00Z"}', '{"at": "2026-03-02T06:00:00Z"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (column,) = profile(tmp_path, path="a.jsonl", top=1)["columns"]
    assert (column["min"], column["max"]) == ("2026-03-01T06:00:00.000000Z", "2026-03-02T06:00:00.000000Z")
    assert column["top"] == [{"value": "2026-03-02T06:00:00.000000Z", "rows": 2}]


def test_a_profile_of_no_rows_is_empty(tmp_path: Path) -> None:
    assert profile(tmp_path, rows=[]) == {"rows": 0, "columns": []}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "profile.input"),
        ({"path": "a.jsonl", "rows": []}, "profile.input"),
        ({"path": "data.txt"}, "profile.format"),
        ({"path": "nowhere.csv"}, "profile.unreadable"),
    ],
)
def test_what_cannot_be_profiled_is_told(tmp_path: Path, given: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profile(tmp_path, **given)
    assert caught.value.code == code
