"""``dataflare audit flow``: honest flows are ok in every shape and after every end; a lie is found, with its epoch."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflare.checkpoint import Changes
from dataflare.owner import this_process
from dataflare_host.cli import main

from .conftest import open_store

PARTS = '''
import json, pathlib
from datetime import UTC, datetime, timedelta
import pyarrow.compute as pc
from dataflare import Batch, Out, Processor, Sink, State, processor, sink, source
from dataflare.state import state

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

@source
def numbers(position: int = 0, *, count: int = 400, step: int = 20):
    """Numbers and words."""
    for start in range(position, count, step):
        rows = list(range(start, min(start + step, count)))
        yield {"n": rows, "k": [n // 10 for n in rows], "w": [f"w{n}" for n in rows]}, rows[-1] + 1

@source
def timed(position: int = 0):
    """Numbers with a time; some come late."""
    for columns, end in numbers(position, count=400, step=20):
        seconds = [n if n % 50 else max(0, n - 100) for n in columns["n"]]
        yield {**columns, "at": [EPOCH + timedelta(seconds=each) for each in seconds]}, end

@processor(cardinality="filter")
def odd(batch: Batch) -> Batch:
    """Odd numbers; those that can be divided by seven are refused."""
    rest = pc.subtract(batch["n"], pc.multiply(pc.divide(batch["n"], 7), 7))
    batch = batch.reject(pc.equal(rest, 0), "seven", "can be divided by seven")
    return batch.filter(pc.equal(pc.bit_wise_and(batch["n"], 1), 1))

@processor(cardinality="one")
def leaky(batch: Batch) -> Batch:
    """Says it gives a row for a row, and loses 205."""
    return batch.filter(pc.not_equal(batch["n"], 205))

class Careless(Sink, ability="transactional", fencing="target", commits="lane"):
    """Says that it has written what it was given, and writes each row but 205."""

    path: str
    swaps: bool = False

    def open(self, ctx):
        self._path = pathlib.Path(ctx.base) / self.path

    def begin(self, epoch: int):
        self._rows = []

    def write(self, batch: Batch):
        self._rows += batch.to_rows()

    def prepare(self, epoch: int):
        self._ready = self._rows

    def commit(self, epoch: int):
        with self._path.open("a") as file:
            for row in self._ready:
                if row["n"] == 205 and self.swaps:
                    row = {**row, "w": "another"}
                if row["n"] != 205 or self.swaps:
                    file.write(json.dumps(row) + "\\n")

    def readback(self, stream: str):
        yield [json.loads(line) for line in self._path.read_text().splitlines()]

@processor(outputs=("low", "high"))
def parted(batch: Batch):
    """Low and high numbers."""
    yield Out("low", batch.filter(pc.less(batch["n"], 200)))
    yield Out("high", batch.filter(pc.greater_equal(batch["n"], 200)))
'''
HEAD = """
version: 1
name: f
sources: {made: {uses: ./parts.py/numbers}}
checkpoint: {interval: 1m, rows: 40}
state: {uses: state/sqlite, with: {path: state.db}}
"""
TIMED = "windows, a join"
SHAPES = {
    "straight": """
sinks: {out: {uses: std/files, from: made, with: {path: out.jsonl}}}
""",
    "chain": """
steps:
  odd: {uses: ./parts.py/odd, from: made, on_error: dead_letter}
  more: {uses: std/compute, from: odd, with: {columns: {m: "n + 1"}}}
  same: {uses: std/filter, from: more, with: {where: "m > 10"}}
sinks: {out: {uses: std/sql, from: same, with: {uri: "sqlite:///out.db", table: t, mode: append}}}
""",
    TIMED: """
time: {column: at}
steps:
  tens: {uses: std/window, from: made, with: {time: at, size: 10s, by: [k], aggregates: {rows: "count(*)"}}}
  evens: {uses: std/filter, from: made, with: {where: "n % 2 = 0"}}
  pairs: {uses: std/join, from: {left: made, right: evens}, with: {on: n, time: at, before: 0s, after: 1s, how: left}}
sinks:
  out: {uses: std/files, from: tens, with: {path: tens.jsonl}}
  late: {uses: std/count, from: tens.late}
  joined: {uses: std/sql, from: pairs, with: {uri: "sqlite:///out.db", table: t, mode: append}}
""",
    "apart": """
sinks:
  out: {uses: std/sql, from: made, with: {uri: "sqlite:///out.db", table: t, mode: append}}
  again: {uses: std/files, from: made, with: {path: again.parquet}}
""",
    "keyed, parted, united": """
steps:
  firsts: {uses: std/dedupe, from: made, with: {key: [k]}, lanes: 2}
  parted: {uses: ./parts.py/parted, from: made}
  both: {uses: std/union, from: [parted.low, firsts]}
sinks:
  out: {uses: std/files, from: both, with: {path: out.jsonl}}
  high: {uses: std/sql, from: parted.high, with: {uri: "sqlite:///out.db", table: t, mode: append}}
""",
}


class Flow:
    """A flow in a folder, its run and its audit."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], rest: str) -> None:
        self.folder = folder
        self.file = folder / "flow.yaml"
        (folder / "parts.py").write_text(PARTS)
        self.file.write_text(HEAD + rest)
        self._capsys = capsys

    def run(self, *words: str) -> Any:
        code = main(["run", str(self.file), "--json", *words])
        told = self._capsys.readouterr().out
        assert code == 0, told
        return json.loads(told.splitlines()[-1])

    def killed(self, at: str) -> None:
        environment = {**os.environ, "DATAFLARE_CRASH": at}
        command = [sys.executable, "-m", "dataflare_host", "run", str(self.file), "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL

    def audit(self, *words: str) -> tuple[int, Any]:
        code = main(["audit", "flow", str(self.file), "--json", *words])
        return code, json.loads(self._capsys.readouterr().out)


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda rest: Flow(tmp_path, capsys, rest)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_honest_flow_is_ok_also_after_kills(made: Any, shape: str) -> None:
    flow = made(SHAPES[shape])
    if shape == TIMED:
        flow.file.write_text(flow.file.read_text().replace("./parts.py/numbers", "./parts.py/timed"))
    flow.killed("decided:3")
    flow.killed("prepared:2")
    flow.run()
    code, told = flow.audit("--readback")
    assert (code, told["ok"], told["differences"], told["first"]) == (0, True, [], None)
    assert told["sources"]["made"]["rows"] == 400
    assert told["epochs"] >= 10
    assert all(target["ok"] is not False for target in told["targets"].values()), told["targets"]


def test_what_the_answer_holds(made: Any) -> None:
    flow = made(SHAPES["straight"])
    assert flow.audit() == (
        0,
        {"flow": "f", "ok": True, "epochs": 0, "sources": {}, "steps": {}, "sinks": {}}
        | {"notes": [], "differences": [], "first": None},
    )
    flow.run()
    _, told = flow.audit()
    assert told["sources"]["made"] == told["sinks"]["out"]
    assert int(told["sources"]["made"]["digest"]) > 1 << 64


def test_dead_letters_and_their_replay_add_up(made: Any) -> None:
    flow = made(SHAPES["chain"])
    flow.run()
    code, told = flow.audit()
    assert (code, told["steps"]["odd"]["refused"]) == (0, 58)
    assert told["steps"]["odd"]["written"] == told["steps"]["more..same"]["read"]
    text = (flow.folder / "parts.py").read_text()
    (flow.folder / "parts.py").write_text(text.replace("pc.equal(rest, 0)", "pc.equal(rest, 9)"))
    assert main(["dlq", "replay", str(flow.file), "--json"]) == 0
    flow._capsys.readouterr()
    code, told = flow.audit("--readback")
    assert (code, told["differences"]) == (0, [])
    assert told["steps"]["odd"]["read"] == 400 + 58
    assert told["targets"]["out"]["ok"], told["targets"]


def test_a_step_that_loses_rows_is_named_with_its_first_epoch(made: Any) -> None:
    rest = "steps: {thin: {uses: ./parts.py/leaky, from: made}}\n" + SHAPES["straight"].replace("made", "thin")
    flow = made(rest)
    flow.run()
    code, told = flow.audit()
    assert (code, told["ok"]) == (1, False)
    (found,) = told["differences"]
    assert (found["place"], found["expected"], found["found"]) == ("thin", 400, 399)
    assert (told["first"], found["exact"]) == (6, True)


@pytest.mark.parametrize(("swaps", "what"), [(False, "holds 399 rows, 400"), (True, "other ones than were committed")])
def test_a_sink_that_lies_is_found_by_reading_its_target_back(made: Any, swaps: bool, what: str) -> None:
    flow = made(f"sinks: {{out: {{uses: ./parts.py/careless, from: made, with: {{path: out, swaps: {swaps}}}}}}}\n")
    flow.run()
    assert flow.audit()[0] == 0
    code, told = flow.audit("--readback")
    assert (code, told["ok"], told["targets"]["out"]["ok"]) == (1, False, False)
    assert what in told["targets"]["out"]["message"]


@pytest.mark.parametrize("tamper", ["taken_rows", "taken_digest", "written"])
def test_a_tampered_checkpoint_is_found_with_its_epoch(made: Any, tamper: str) -> None:
    flow = made(SHAPES["keyed, parted, united"])
    flow.run()
    with closing(open_store("sqlite", flow.folder, path="state.db")) as store:
        (region,) = [region for _, region in store.flows()]
        last = store.load("f", region)
        token = store.lease("f", region, this_process(), store.lease_info("f", region).token)
        edge, step = last.proofs["parted.high->high"], last.proof.steps["both"]
        if tamper == "written":
            step.written -= 1
        else:
            setattr(edge, tamper, 199 if tamper == "taken_rows" else str(int(edge.taken_digest) ^ 1))
        store.commit(replace(last, epoch=last.epoch + 1), Changes(), token)
        store.release("f", region, token)
    code, told = flow.audit()
    places = {"written": {"both"}, "taken_rows": {"parted.high->high", "high"}, "taken_digest": {"parted.high->high"}}
    assert (code, {found["place"] for found in told["differences"]}) == (1, places[tamper])
    assert (told["first"], told["differences"][0]["exact"]) == (last.epoch + 1, True)


def test_a_lost_dead_letter_is_found(made: Any) -> None:
    flow = made(SHAPES["chain"])
    flow.run()
    with sqlite3.connect(flow.folder / "state.db") as db:
        db.execute("delete from letter where id = (select max(id) from letter)")
    code, told = flow.audit()
    assert (code, told["differences"][0]["place"]) == (1, "letters of odd")


def test_sums_begin_anew_where_the_flow_is_another(made: Any) -> None:
    flow = made(SHAPES["straight"])
    flow.killed("decided:6")
    before = flow.audit()[1]["epochs"]
    flow.file.write_text(HEAD + SHAPES["straight"].replace("}}}", "}}, count: {uses: std/count, from: made}}"))
    flow.run()
    code, told = flow.audit("--readback")
    assert code == 0
    assert told["sources"]["made"]["rows"] == told["sinks"]["count"]["rows"] < 400
    assert told["notes"][0].startswith("the sums of ")
    assert told["targets"]["out"]["ok"] is None
    assert before > 1
