"""Flows of many forms go to another process: regions, lanes, sources, sinks, stores, guests, bare files."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from handed import FLOW, SHOP, Launched, Project, code
from pipeline.reloads import judge

from dataflare import DataflareError

TWO = """
version: 1
name: handed
sources:
  a: {uses: ./shop.py/numbers}
  b: {uses: ./shop.py/numbers}
steps:
  first: {uses: tagger/tagged, from: a}
  second: {uses: tagger/tagged, from: b, with: {by: 2}}
sinks:
  out-a: {uses: std/files, from: first, with: {path: out/a/, format: jsonl}}
  out-b: {uses: std/files, from: second, with: {path: out/b/, format: jsonl}}
checkpoint: {interval: 60ms}
engine: {uses: pipeline/pipeline, with: {probation: 4s}}
guarantee: exactly_once
"""
ENDS = '''
import sqlite3
from pathlib import Path
from dataflare import Batch, Idle, Sink, Source

ENOUGH = Path(__file__).parents[3] / "enough"

class Numbers(Source[{position}], version={number}):
    """Numbers, with a position of this version."""

    def read(self, position: {position} | None = None):
        at = {start} if position else 0
        while not ENOUGH.exists():
            yield {{"n": list(range(at, at + 50))}}, {told}
            at += 50
            yield Idle(after=0.002)

    def migrate_position(self, version, position):
        return {migrated}

class Table(Sink, ability="idempotent"):
    """A table of numbers, and the version that wrote each."""

    def open(self, ctx):
        self.db = sqlite3.connect(ctx.path("t.db"))
        self.db.execute("create table if not exists rows (n integer primary key, version text)")

    def write(self, batch: Batch):
        rows = [(n, {version!r}) for n in batch["n"].to_pylist()]
        self.db.executemany("insert or replace into rows values (?, ?)", rows)

    def prepare(self, epoch: int):
        {prepare}
        self.db.commit()

    def close(self):
        self.db.close()
'''
OWN_ENDS = """
version: 1
name: handed
sources:
  numbers: {uses: tagger/numbers}
sinks:
  table: {uses: tagger/table, from: numbers}
checkpoint: {interval: 60ms}
engine: {uses: pipeline/pipeline, with: {probation: 4s}}
"""


def ends(version: str, number: int = 1, prepare: str = "pass", migrated: str = "") -> str:
    """A version of a plugin with a source and a sink."""
    plain = number == 1
    return ENDS.format(
        version=version,
        number=number,
        position="int" if plain else "dict[str, int]",
        start="position" if plain else 'position["at"]',
        told="at + 50" if plain else '{"at": at + 50}',
        migrated=migrated or ("position" if plain else '{"at": position}'),
        prepare=prepare,
    )


def in_table(project: Project) -> Counter[str]:
    """The table holds each number once; how many each version wrote."""
    with closing(sqlite3.connect(project.folder / "t.db")) as db:
        rows = db.execute("select n, version from rows order by n").fetchall()
    assert [n for n, _ in rows] == list(range(len(rows)))
    return Counter(version for _, version in rows)


def test_a_source_and_a_sink_of_the_plugin_keep_their_place(tmp_path: Path) -> None:
    project = Project(tmp_path, OWN_ENDS)
    project.add("1.0.0", ends("1.0.0"))
    launched = Launched(project)
    try:
        launched.until(2)
        project.add("1.1.0", ends("1.1.0", 2, migrated="1 / 0"))
        with pytest.raises(Exception, match="division by zero"):
            launched.reload()
        project.add("1.2.0", ends("1.2.0", 2, prepare="raise RuntimeError('defect')"))
        told = launched.reload()
        assert (told["outcome"], told["problem"]["message"]) == ("rolled_back", "`table` failed: defect"), told
        assert told["replayed"] > 0
        launched.until(1)
        project.add("2.0.0", ends("2.0.0", 2))
        told = launched.reload()
        assert told["outcome"] == "kept", told
        launched.until(1)
        ended = launched.end()
        assert (ended["code"], ended["status"]) == (0, "finished"), ended
    finally:
        launched.close()
    made = in_table(project)
    assert set(made) == {"1.0.0", "2.0.0"}
    assert ended["rows"]["read"] == sum(made.values())


def test_regions_go_all_or_none(tmp_path: Path) -> None:
    project = Project(tmp_path, TWO)
    launched = Launched(project)
    try:
        launched.until(2)
        project.add("1.1.0", code("1.1.0", call="if by == 2: raise RuntimeError('defect')"))
        told = launched.reload()
        assert (told["outcome"], told["problem"]["message"]) == ("rolled_back", "`second` failed: defect"), told
        project.add("1.2.0", code("1.2.0"))
        assert launched.reload()["outcome"] == "kept"
        launched.until(1)
        ended = launched.end()
        assert (ended["code"], ended["status"]) == (0, "finished"), ended
    finally:
        launched.close()
    for part in ("a", "b"):
        rows = project.rows(f"out/{part}")
        assert sorted(row["n"] for row in rows) == list(range(len(rows)))
        assert {row["version"] for row in rows} == {"1.0.0", "1.2.0"}


MANY = """
version: 1
name: handed
sources:
  numbers: {uses: ./shop.py/numbers, time: {column: at}}
steps:
  tagged: {uses: tagger/tagged, from: numbers}
  running: {uses: tagger/running, lanes: 2, from: tagged, with: {key: k}}
  firsts: {uses: std/dedupe, lanes: 2, from: running, with: {key: [n]}}
  seconds:
    uses: std/window
    from: numbers
    with: {time: at, size: 1s, by: [k], aggregates: {pieces: count(), total: sum(n)}}
sinks:
  out: {uses: std/files, from: firsts, with: {path: out.jsonl}}
  windows: {uses: std/sql, from: seconds, with: {uri: "duckdb:///duck.db", table: windows}}
state: STATE
checkpoint: {interval: 60ms}
engine: {uses: pipeline/pipeline, with: {probation: 4s}}
"""
TIMED = '''
from datetime import UTC, datetime
from pathlib import Path
from dataflare import Idle, Source

ENOUGH = Path(__file__).with_name("enough")

class Numbers(Source[int]):
    """Numbers, a thousand a second of event time."""

    def plan(self):
        return {"n": int, "k": int, "at": datetime}

    def read(self, position: int = 0):
        while not ENOUGH.exists():
            rows = range(position, position + 100)
            times = [datetime.fromtimestamp(n / 1000, UTC) for n in rows]
            position += 100
            yield {"n": list(rows), "k": [n % 7 for n in rows], "at": times}, position
            yield Idle(after=0.02)
'''


@pytest.mark.parametrize(
    "store",
    [
        "{uses: state/sqlite, with: {path: state.db}}",
        "{uses: state/file, with: {path: state}, layers: [{uses: state/zstd}]}",
    ],
)
def test_state_windows_and_locked_targets_go_along(tmp_path: Path, store: str) -> None:
    project = Project(tmp_path, MANY.replace("STATE", store))
    (tmp_path / "shop.py").write_text(TIMED)
    launched = Launched(project)
    try:
        launched.until(2)
        for number, call in enumerate(["pass", "raise RuntimeError('defect')", "pass"], 1):
            project.add(f"1.{number}.0", code(f"1.{number}.0", call=call))
            told = launched.reload()
            assert told["outcome"] == ("kept" if call == "pass" else "rolled_back"), told
            launched.until(2)
        ended = launched.end()
        assert (ended["code"], ended["status"]) == (0, "finished"), ended
    finally:
        launched.close()
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert set(judge(rows)) == {"1.0.0", "1.1.0", "1.3.0"}
    wanted: dict[tuple[int, int], list[int]] = {}
    for n in range(len(rows)):
        wanted.setdefault((n // 1000, n % 7), []).append(n)
    assert windows(tmp_path / "duck.db") == {
        (start, k): (len(found), sum(found)) for (start, k), found in wanted.items()
    }


def windows(path: Path) -> dict[tuple[int, int], tuple[int, int]]:
    """What each window holds, by its first second and key; each is there once."""
    import duckdb

    with duckdb.connect(str(path)) as db:
        rows = db.execute("select epoch(window_start)::int, k, pieces, total from windows").fetchall()
    made = {(start, k): (pieces, int(total)) for start, k, pieces, total in rows}
    assert len(made) == len(rows)
    return made


def test_a_bare_file_is_reloaded(project: Project, launched: Launched) -> None:
    with pytest.raises(Exception, match="as it is here"):
        launched.ask("swap", plugin="./shop.py")
    (project.folder / "shop.py").write_text(SHOP.replace('"k":', '"more": ["x"] * 100, "k":'))
    words = [sys.executable, "-m", "dataflare_host", "plugin", "reload", "flow.yaml", "./shop.py", "--json"]
    done = subprocess.run(words, cwd=project.folder, capture_output=True, text=True, timeout=120, check=False)
    assert json.loads(done.stdout)["outcome"] == "kept", done
    launched.until(1)
    assert launched.end()["status"] == "finished"
    rows = project.rows()
    judge(rows)
    assert {row.get("more") for row in rows} == {None, "x"}


def test_a_guest_is_reloaded_in_the_new_process(tmp_path: Path) -> None:
    """It changes over in place; and what runs outside may come into the process, and go out again."""
    project = Project(tmp_path)
    launched = Launched(project)
    try:
        launched.until(1)
        for number, isolation in enumerate(["inline", "worker", "worker", "inline"], 1):
            project.add(f"1.{number}.0", code(f"1.{number}.0"), isolation)
            told = launched.reload()
            assert told["outcome"] == "kept", told
            launched.until(1)
        assert launched.end()["code"] == 0
    finally:
        launched.close()
    assert set(judge(project.rows())) == {f"1.{number}.0" for number in range(5)}


TIED: dict[str, tuple[str, str]] = {
    "memory": (
        FLOW.replace("checkpoint:", "state: {uses: state/memory}\ncheckpoint:", 1).replace(
            "guarantee: exactly_once", ""
        ),
        "in this process only",
    ),
    "stdin": (
        FLOW.replace("./shop.py/numbers", "std/stdio").replace("guarantee: exactly_once", ""),
        "cannot read again",
    ),
}


@pytest.mark.parametrize("why", TIED)
def test_a_flow_that_is_tied_to_its_process_says_so(tmp_path: Path, why: str) -> None:
    flow, cause = TIED[why]
    project = Project(tmp_path, flow)
    launched = Launched(project)
    try:
        launched.until(0)
        project.add("1.1.0", code("1.1.0"))
        with pytest.raises(DataflareError) as caught:
            launched.reload()
        (problem,) = caught.value.problems
        assert (problem.code, cause in problem.cause, bool(problem.fix)) == ("reload.tied", True, True)
        launched.ask("stop")
        assert launched.ended()["code"] == 0
    finally:
        launched.close()


SHARED = '''
import fcntl
from dataflare import Batch, processor, resource

@resource
def only_one():
    """A lock that one process has."""
    with open("LOCK", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file

@processor(cardinality="one")
def locked(batch: Batch, only_one) -> Batch:
    """Works with it."""
    return batch
'''


def test_what_lanes_share_is_closed_before_another_process_opens_its_own(tmp_path: Path) -> None:
    step = "steps:\n  locked: {uses: ./locked.py/locked, from: numbers}"
    project = Project(tmp_path, FLOW.replace("from: numbers", "from: locked").replace("steps:", step))
    (tmp_path / "locked.py").write_text(SHARED.replace("LOCK", str(tmp_path / "lock"), 1))
    launched = Launched(project)
    try:
        for number, call in enumerate(["pass", "raise RuntimeError('defect')", "pass"], 1):
            launched.until(1)
            project.add(f"1.{number}.0", code(f"1.{number}.0", call=call))
            told = launched.reload()
            assert told["outcome"] == ("kept" if call == "pass" else "rolled_back"), told
        launched.until(1)
        assert launched.end()["code"] == 0
    finally:
        launched.close()
    assert set(judge(project.rows())) == {"1.0.0", "1.1.0", "1.3.0"}


def test_guests_run_beside_the_process_that_has_the_flow(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.add("1.0.0", code("1.0.0"), "worker")
    launched = Launched(project)
    try:
        launched.until(1)
        before = launched.children()
        (tmp_path / "shop.py").write_text(SHOP.replace('"k":', '"more": ["x"] * 100, "k":'))
        assert launched.ask("swap", plugin="./shop.py")["outcome"] == "kept"
        launched.until(1)
        until = time.monotonic() + 10
        while sum(map(psutil.pid_exists, before)) > 1:  # the guard of guests may stay
            assert time.monotonic() < until
            time.sleep(0.01)
        assert launched.end()["code"] == 0
    finally:
        launched.close()
    judge(project.rows())
