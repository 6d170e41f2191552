"""``dataflare state`` and ``dataflare dlq`` as people and scripts use them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.checkpoint import Changes, EdgeProof
from dataflare.owner import this_process
from dataflare.store import Store
from dataflare_host.cli import main

from .conftest import change, checkpoint, held, letter, open_store

FLOW = """\
version: 1
name: f
sources: {read: {uses: std/generate, with: {rows: 3}}}
sinks: {out: {uses: std/count, from: read}, other: {uses: std/count, from: read}}
state: {uses: state/sqlite}
"""


class Line:
    """Runs command lines in a folder with a flow."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.flow = folder / "flow.yaml"
        self.flow.write_text(FLOW)
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, Any]:
        """Exit code and the JSON document of ``dataflare GROUP NAME flow.yaml …``."""
        group, name, *rest = words
        code = main([group, name, str(self.flow), *rest, "--json"])
        return code, json.loads(self._capsys.readouterr().out)

    def answer(self, *words: str) -> Any:
        """The answer of a command that works."""
        code, document = self.run(*words)
        assert code == 0, document
        return document

    def refusal(self, *words: str) -> str:
        """The code of the error of a command that is refused."""
        code, document = self.run(*words)
        assert code != 0, document
        return str(document["errors"][0]["code"])


@pytest.fixture
def line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(tmp_path, capsys)


def rows_of(*numbers: int) -> bytes:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"n": list(numbers)})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@contextmanager
def ran(folder: Path, kind: str = "sqlite") -> Iterator[Store]:
    """The store as a run left it: two epochs, keys, letters; the second is not settled."""
    store = open_store(kind, folder)
    store.lease("f", "read", this_process(), 0)
    letters = [
        letter("bad", region="read", rows=rows_of(1, 2, 3)),
        letter("bad", region="read", rows=rows_of(4, 5, 6)),
        letter("odd", step="t", region="read", rows=rows_of(7, 8, 9)),
    ]
    first = checkpoint(1, region="read", proofs={"read.out->out": EdgeProof(10, "1")})
    store.commit(first, Changes([change("k", "v")], letters), 1)
    store.settle("f", "read", 1, 1)
    tokens = {"out": {"0": {"file": "x"}}, "other": {"0": "y"}}
    second = checkpoint(2, region="read", tokens=tokens, proofs={"read.out->out": EdgeProof(17, "2")})
    store.commit(second, Changes(), 1)
    store.release("f", "read", 1)
    yield store
    store.close()


def test_inspect_shows_what_is_kept(line: Line, tmp_path: Path) -> None:
    with ran(tmp_path):
        shown = line.answer("state", "inspect")
        assert (shown["flow"], shown["store"], shown["letters"]) == ("f", "state/sqlite", {"waiting": 3})
        region = shown["regions"]["read"]
        assert region["epoch"] == 2
        assert region["tokens"]["out"] == {"0": {"file": "x"}}
        assert region["splits"]["read"][0]["position"] == {"byte": 2}
        assert region["lease"]["state"] == "released"
        assert [info["epoch"] for info in region["history"]] == [2, 1]
        assert line.answer("state", "inspect", "--epoch", "1")["regions"]["read"]["epoch"] == 1
        assert line.refusal("state", "inspect", "--epoch", "9") == "state.unknown_epoch"


def test_looking_at_a_flow_that_never_ran_makes_nothing(line: Line, tmp_path: Path) -> None:
    assert line.answer("state", "inspect")["regions"] == {}
    assert line.answer("dlq", "list") == []
    assert line.answer("dlq", "show") == []
    assert line.answer("dlq", "drop") == {"flow": "f", "letters": 0}
    assert line.answer("state", "reset")["reset"] == []
    assert list(tmp_path.iterdir()) == [line.flow]


def test_the_default_store_is_found_where_the_flow_names_none(line: Line, tmp_path: Path) -> None:
    line.flow.write_text(FLOW.replace("state: {uses: state/sqlite}\n", ""))
    store = open_store("sqlite", tmp_path, path=".dataflare/f.db")
    store.lease("f", "read", "o", 0)
    assert list(line.answer("state", "inspect")["regions"]) == ["read"]


def test_state_in_memory_cannot_be_looked_at(line: Line) -> None:
    line.flow.write_text(FLOW.replace("state/sqlite", "state/memory"))
    assert line.refusal("state", "inspect") == "state.in_process"


def test_a_broken_flow_file_is_exit_code_two(line: Line) -> None:
    line.flow.write_text("version: [")
    code, document = line.run("state", "inspect")
    assert code == 2
    assert document["errors"][0]["line"]


@pytest.mark.parametrize("kind", ["sqlite", "file"])
def test_reset_asks_first_and_then_forgets(kind: str, line: Line, tmp_path: Path) -> None:
    line.flow.write_text(FLOW.replace("state/sqlite", f"state/{kind}"))
    with ran(tmp_path, kind) as store:
        assert line.refusal("state", "reset") == "cli.confirm"
        assert store.load("f", "read") is not None
        assert line.answer("state", "reset", "--yes")["reset"] == ["read"]
        assert store.load("f", "read") is None
        assert held(store, region="read") == {}
        lease = store.lease_info("f", "read")
        assert lease
        assert (lease.token, lease.released) == (2, True)


SLOTS = """\
from pathlib import Path

from dataflare import Batch, Sink


class Slot(Sink):
    def on_created(self, ctx):
        (ctx.base / "slot").write_text("made")
        return {"file": "slot"}

    def on_deleted(self, ctx, made):
        (ctx.base / made["file"]).unlink()

    def write(self, batch: Batch) -> None:
        pass
"""


def test_reset_undoes_what_steps_made_once_or_leaves_everything(line: Line, tmp_path: Path) -> None:
    line.flow.write_text(FLOW.replace("out: {uses: std/count", "out: {uses: ./slots.py/slot"))
    (tmp_path / "slots.py").write_text(SLOTS)
    slot = tmp_path / "slot"
    assert main(["run", str(line.flow)]) == 0
    assert slot.read_text() == "made"
    slot.unlink()
    assert line.refusal("state", "reset", "--yes") == "state.made_stays"
    assert line.answer("state", "inspect")["regions"]["read"]["epoch"] == 1
    slot.write_text("made")
    answer = line.answer("state", "reset", "--yes")
    assert (answer["reset"], answer["undone"]) == (["read"], ["out"])
    assert not slot.exists()
    assert main(["run", str(line.flow)]) == 0
    assert line.answer("state", "reset", "--yes", "--keep-made")["undone"] == []
    assert slot.exists()


def test_a_running_flow_is_not_reset(line: Line, tmp_path: Path) -> None:
    with ran(tmp_path) as store:
        store.lease("f", "read", this_process(), 1)
        done = threading.Event()

        def beat() -> None:
            while not done.is_set():
                store.beat("f", "read", 2)

        runner = threading.Thread(target=beat)
        runner.start()
        try:
            assert line.refusal("state", "reset", "--yes") == "run.already_running"
        finally:
            done.set()
            runner.join()
        assert store.load("f", "read") is not None


def test_a_lease_of_a_dead_process_does_not_hold_up(line: Line, tmp_path: Path) -> None:
    with ran(tmp_path) as store:
        owner = json.loads(this_process())
        store.lease("f", "read", json.dumps({**owner, "start": "1"}), 1)
        assert line.answer("state", "inspect")["regions"]["read"]["lease"]["state"] == "dead"
        assert line.answer("state", "reset", "--yes")["reset"] == ["read"]


def test_resolve_passes_over_a_pending_commit(line: Line, tmp_path: Path) -> None:
    with ran(tmp_path) as store:
        asked = ("state", "resolve", "--sink", "out", "--epoch")
        assert line.refusal(*asked, "1", "--as", "committed") == "state.nothing_pending"
        answer = line.answer(*asked, "2", "--as", "committed")
        assert answer == {"flow": "f", "epoch": 3, "guarantee": ["broken at 2"], "left": ["other"]}
        made = store.load("f", "read")
        assert made
        assert (made.epoch, made.tokens, made.settled) == (3, {"other": {"0": "y"}}, False)
        assert made.splits == checkpoint(2).splits
        assert line.refusal(*asked, "2", "--as", "committed") == "state.nothing_pending"
        assert len(list(store.letters("f", status=None))) == 3


@pytest.mark.parametrize("kind", ["sqlite", "file"])
def test_resolve_can_leave_a_record_of_the_lost_rows(kind: str, line: Line, tmp_path: Path) -> None:
    line.flow.write_text(FLOW.replace("state/sqlite", f"state/{kind}"))
    with ran(tmp_path, kind) as store:
        line.answer("state", "resolve", "--sink", "out", "--epoch", "2", "--as", "dead_letter")
        *_, lost = store.letters("f", status=None)
        assert (lost.step, lost.code, lost.count, lost.status) == ("out", "commit_pending", 7, "dropped")
        assert lost.place == {"epoch": 2, "tokens": {"0": {"file": "x"}}}
        (shown,) = line.answer("dlq", "show", "--status", "dropped")
        assert shown["rows"] == []


def test_letters_are_listed_shown_and_dropped(line: Line, tmp_path: Path) -> None:
    with ran(tmp_path):
        assert [(group["step"], group["code"], group["waiting"]) for group in line.answer("dlq", "list")] == [
            ("s", "bad", 6),
            ("t", "odd", 3),
        ]
        shown = line.answer("dlq", "show", "--limit", "1")
        assert [(one["code"], one["rows"], one["place"]) for one in shown] == [
            ("bad", [{"n": 1}, {"n": 2}, {"n": 3}], {"line": 7})
        ]
        assert [one["rows"][0]["n"] for one in line.answer("dlq", "show", "--step", "t")] == [7]
        assert line.answer("dlq", "show", "--code", "none") == []
        assert line.answer("dlq", "drop", "--ids", str(shown[0]["id"]))["letters"] == 1
        assert line.answer("dlq", "drop", "--step", "s")["letters"] == 1
        assert [(group["waiting"], group["dropped"]) for group in line.answer("dlq", "list")] == [(0, 6), (3, 0)]


def test_nothing_waiting_is_replayed_without_a_run(line: Line, tmp_path: Path) -> None:
    assert line.answer("dlq", "replay") == {"flow": "f", "letters": 0}
    assert list(tmp_path.iterdir()) == [line.flow]


PARTS = '''
from pathlib import Path
from dataflare import Batch, processor, sink, source

@source
def numbers(position: int = 0):
    """Ten numbers."""
    if position < 10:
        yield {"n": range(position, 10)}, 10

@processor
def picky(batch: Batch, *, limit: str) -> Batch:
    """Refuses numbers from a limit on that stands in a file."""
    import pyarrow.compute as pc
    return batch.reject(pc.greater_equal(batch["n"], int(Path(limit).read_text())), "too_large", "too large")

@sink
def lines(batch: Batch, *, path: str) -> None:
    """One line a number."""
    with open(path, "a") as file:
        file.writelines(f"{row['n']}\\n" for row in batch.to_rows())
'''


def test_letters_are_replayed_into_the_step_that_refused_them(
    line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    limit, out = tmp_path / "limit", tmp_path / "out"
    limit.write_text("6")
    line.flow.write_text(
        f"""\
version: 1
name: f
sources: {{read: {{uses: ./parts.py/numbers}}}}
steps: {{pick: {{uses: ./parts.py/picky, from: read, with: {{limit: "{limit}"}}}}}}
sinks: {{out: {{uses: ./parts.py/lines, from: pick, with: {{path: "{out}"}}}}}}
"""
    )
    assert main(["run", str(line.flow), "--json"]) == 0
    capsys.readouterr()
    assert [group["waiting"] for group in line.answer("dlq", "list")] == [4]
    limit.write_text("8")
    answer = line.answer("dlq", "replay")
    assert (answer["letters"], answer["status"]) == (1, "finished")
    assert [(group["waiting"], group["replayed"]) for group in line.answer("dlq", "list")] == [(2, 4)]
    assert sorted(map(int, out.read_text().split())) == list(range(8))
    line.answer("dlq", "replay", "--code", "too_large")
    assert [(group["waiting"], group["replayed"]) for group in line.answer("dlq", "list")] == [(2, 6)]
