"""``dataflare dlq query | export | replay``: letters for SQL and for other programs, and replays that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflare.checkpoint import Letter
from dataflare_host.cli import main
from dataflare_pipeline.work import ipc
from dataflare_state.letter_tables import rows_table

PARTS = '''
from pathlib import Path
import pyarrow.compute as pc
from dataflare import Batch, processor, sink, source

@source
def numbers(position: int = 0, *, count: int = 60):
    """Whole numbers and words, some of them in batches of their own."""
    for start in range(position, count, 6):
        rows = list(range(start, min(start + 6, count)))
        yield {"n": rows, "word": [f"w{n}" for n in rows]}, rows[-1] + 1

def limit() -> int:
    return int((Path(__file__).parent / "limit").read_text())

@processor
def picky(batch: Batch) -> Batch:
    """Refuses numbers from a limit on."""
    return batch.reject(pc.greater_equal(batch["n"], limit()), "too_large", "too large")
'''
FLOW = """
version: 1
name: f
sources: {read: {uses: ./parts.py/numbers}}
steps: {pick: {uses: ./parts.py/picky, from: read}}
sinks: {out: {uses: std/sql, from: pick, with: {uri: "sqlite:///out.db", table: t, mode: append}}}
state: {uses: state/sqlite, with: {path: state.db}}
checkpoint: {interval: 1ms, rows: 12}
"""


class Line:
    """Command lines in the folder of a flow."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.file = folder / "flow.yaml"
        self.file.write_text(FLOW)
        (folder / "parts.py").write_text(PARTS)
        self.limit(10)
        self._capsys = capsys

    def limit(self, number: int) -> None:
        (self.folder / "limit").write_text(str(number))

    def run(self, *words: str) -> tuple[int, Any]:
        code = main([*words[:2], str(self.file), *words[2:], "--json"])
        return code, json.loads(self._capsys.readouterr().out.splitlines()[-1])

    def answer(self, *words: str) -> Any:
        code, told = self.run(*words)
        assert code == 0, told
        return told

    def flow(self) -> None:
        assert main(["run", str(self.file), "--quiet"]) == 0

    def refusal(self, *words: str) -> str:
        code, told = self.run(*words)
        assert code != 0, told
        return str(told["errors"][0]["code"])

    def rows(self) -> Counter[int]:
        import sqlite3

        with sqlite3.connect(self.folder / "out.db") as db:
            return Counter(n for (n,) in db.execute("select n from t"))


@pytest.fixture
def line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(tmp_path, capsys)


def test_letters_and_rows_are_asked_in_sql(line: Line) -> None:
    line.flow()
    (told,) = line.answer("dlq", "query", "select step, code, sum(count) as n from letters group by all")
    assert told == {"step": "pick", "code": "too_large", "n": 50}
    rows = line.answer("dlq", "query", "select n, word, _code, _status from pick where n % 10 = 5 order by n")
    assert [row["n"] for row in rows] == [15, 25, 35, 45, 55]
    assert rows[0] == {"n": 15, "word": "w15", "_code": "too_large", "_status": "waiting"}
    joined = "select min(l.epoch) as first, count(*) as n from pick join letters l on l.id = _letter"
    assert line.answer("dlq", "query", joined)[0]["n"] == 50


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "from 'parts.py'",
        "copy letters to 'stolen.csv'",
        "attach 'other.db'",
        "install httpfs",
        "set enable_external_access = true",
        "create table x as select 1",
        "select 1; select 2",
        "select * from read_csv('http://127.0.0.1:9/x')",
        "selec 1",
        "select * from host",
        "",
    ],
)
def test_sql_only_reads_and_only_letters(line: Line, sql: str) -> None:
    before = sorted(path.name for path in line.folder.iterdir())
    assert line.refusal("dlq", "query", sql) == "letter.query"
    assert line.answer("dlq", "query", "select count(*) as n from letters") == [{"n": 0}]
    assert sorted(path.name for path in line.folder.iterdir()) == before


def test_letters_are_exported_with_their_reasons(line: Line) -> None:
    line.flow()
    told = line.answer("dlq", "export", "--to", str(line.folder / "l.jsonl"))
    assert (told["rows"], told["format"]) == (50, "jsonl")
    lines = [json.loads(text) for text in (line.folder / "l.jsonl").read_text().splitlines()]
    assert [row["n"] for row in lines] == list(range(10, 60))
    assert {key: lines[0][key] for key in ("_step", "_code", "_attempts", "word")} == {
        "_step": "pick", "_code": "too_large", "_attempts": 0, "word": "w10"}  # fmt: skip
    line.answer("dlq", "export", "--to", str(line.folder / "l.parquet"), "--step", "pick")
    line.answer("dlq", "export", "--to", str(line.folder / "l.out"), "--format", "arrow")
    kept = [pq.read_table(line.folder / "l.parquet"), pa.ipc.open_file(line.folder / "l.out").read_all()]
    assert [table["n"].to_pylist() for table in kept] == [list(range(10, 60))] * 2
    assert line.refusal("dlq", "export", "--to", str(line.folder / "l.txt")) == "letter.format"
    assert line.refusal("dlq", "export", "--to", str(line.folder / "no" / "l.jsonl")) == "cli.not_written"
    assert not [path for path in line.folder.iterdir() if path.name.endswith(".part")]


def test_rows_of_several_steps_and_types_stand_beside_each_other(line: Line) -> None:
    line.flow()
    text = (line.folder / "parts.py").read_text()
    line.file.write_text(FLOW.replace("sinks: {", "sinks: {more: {uses: ./parts.py/sour, from: read}, "))
    (line.folder / "parts.py").write_text(
        text.replace('"n": rows,', '"n": [float(n) for n in rows],')
        + '''

@sink
def sour(batch: Batch) -> None:
    """Refuses all."""
    batch.reject(pc.is_valid(batch["n"]), "sour")
'''
    )
    assert main(["state", "reset", str(line.file), "--yes", "--json"]) == 0
    (line.folder / "out.db").unlink()
    line.flow()
    assert line.refusal("dlq", "export", "--to", str(line.folder / "l.parquet")) == "letter.steps"
    assert line.answer("dlq", "export", "--to", str(line.folder / "l.jsonl"))["rows"] == 50 + 60
    assert line.answer("dlq", "query", "select count(*) as n from more") == [{"n": 60}]


def test_columns_that_changed_their_type_are_united_or_text() -> None:
    def letter(**columns: Any) -> Letter:
        return Letter("f", "r", "s", "bad", "", 1, 1, ipc(pa.record_batch(columns)))

    wider = rows_table([letter(n=pa.array([1], pa.int8())), letter(n=[2.5], more=["x"])])
    assert wider.select(["n", "more"]).to_pylist() == [{"n": 1.0, "more": None}, {"n": 2.5, "more": "x"}]
    other = rows_table([letter(n=[1]), letter(n=[["a", "b"]])])
    assert other["n"].to_pylist() == ["1", '["a", "b"]']


def replayed(line: Line, crash: str = "") -> int:
    environment = {**os.environ, "DATAFLARE_CRASH": crash}
    command = [sys.executable, "-m", "dataflare_host", "dlq", "replay", str(line.file), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("kills", [["replay:2"], ["replay:4", "decided:2"], ["prepared:2", "recovery"], ["committed"]])
def test_a_replay_that_dies_is_gone_on_with_and_doubles_nothing(line: Line, kills: list[str]) -> None:
    line.flow()
    line.limit(40)
    for kill in kills:
        replayed(line, kill)
    replayed(line)
    assert line.rows() == Counter(range(40))
    told = line.answer(
        "dlq",
        "query",
        "select status, attempts, sum(count) as n from letters group by all order by all",
    )
    assert told[0] == {"status": "replayed", "attempts": 0, "n": 50}
    waiting = [each for each in told if each["status"] == "waiting"]
    assert sum(each["n"] for each in waiting) == 20
    assert all(each["attempts"] >= 1 for each in waiting)
    code, audit = line.run("audit", "flow", "--readback")
    assert (code, audit["differences"]) == (0, [])
    line.limit(100)
    replayed(line)
    assert line.rows() == Counter(range(60))


def test_what_a_source_could_not_read_cannot_be_replayed(line: Line) -> None:
    (line.folder / "in.jsonl").write_text('{"n": 1}\nnonsense\n{"n": 50}\n')
    line.file.write_text(FLOW.replace("{uses: ./parts.py/numbers}", "{uses: std/files, with: {path: in.jsonl}}"))
    line.flow()
    assert line.refusal("dlq", "replay", "--step", "read") == "letter.raw"
    line.limit(100)
    told = line.answer("dlq", "replay")
    assert (told["letters"], told["left"]) == (1, {"letters": 1, "rows": 1})
    assert line.rows() == Counter([1, 50])
