"""The crash suite is what authors believe: it fails for a sink that doubles or loses, and says where."""

import json
from pathlib import Path

import pytest

from dataflare.testing import Crashes, crash_suite
from dataflare.testing.crash_table import table
from dataflare.testing.verdict import counted, judged, seen

SHOP = '''
import json
from pathlib import Path
from dataflare import Batch, Sink, source

@source
def numbers(position: int = 0, *, count: int = 60):
    """Ten at a time."""
    for start in range(position, count, 10):
        yield {"n": range(start, start + 10)}, start + 10

class Lines(Sink, ability="ABILITY", fencing="names"):
    """Appends at once, whatever it says of itself."""
    path: Path

    def write(self, batch: Batch, ctx):
        with ctx.path(self.path).open("a") as file:
            file.writelines(json.dumps(row) + "\\n" for row in batch.to_rows())

class Forgetful(Sink, ability="staged", fencing="names"):
    """Keeps rows in memory until they are decided."""
    path: Path

    def open(self, ctx):
        self.kept = {}

    def begin(self, epoch):
        self.rows = []

    def write(self, batch: Batch):
        self.rows += batch.to_rows()

    def prepare(self, epoch):
        self.kept[epoch] = self.rows
        return epoch

    def commit(self, epoch, tokens, ctx):
        with ctx.path(self.path).open("a") as file:
            file.writelines(json.dumps(row) + "\\n" for row in self.kept.pop(epoch, []))
'''
FLOW = """
version: 1
name: small
sources: {numbers: {uses: ./shop.py/numbers}}
sinks: {out: {uses: ./shop.py/SINK, from: numbers, with: {path: out.jsonl}}}
checkpoint: {interval: 5ms, rows: 20}
"""


def crashes(sink: str, ability: str = "append") -> Crashes:
    def make(folder: Path) -> Path:
        (folder / "shop.py").write_text(SHOP.replace("ABILITY", ability))
        (folder / "flow.yaml").write_text(FLOW.replace("SINK", sink))
        return folder / "flow.yaml"

    return Crashes(make, written)


def written(folder: Path) -> dict[str, list[object]]:
    path = folder / "out.jsonl"
    return {"out": [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []}


def test_a_sink_that_appends_may_double_and_does() -> None:
    (verdict,) = crashes("lines").killed("prepared:2")
    assert (verdict.guarantee, verdict.held, verdict.lost) == ("at_least_once", True, 0)
    assert verdict.doubled > 0


def test_a_sink_that_calls_itself_staged_and_is_not_does_not_pass() -> None:
    verdicts = crashes("lines", "staged").killed("commit-point:2")
    assert [verdict.held for verdict in verdicts] == [False]
    assert "too many" in verdicts[0].wrong


def test_a_sink_that_forgets_what_it_prepared_does_not_pass() -> None:
    (verdict,) = crashes("forgetful").killed("decided:2")
    assert not verdict.held
    assert "lost" in verdict.wrong


def test_a_kill_that_never_comes_is_no_verdict() -> None:
    assert crashes("lines").killed("prepared:99") == []


def test_what_is_passed_is_found_out() -> None:
    assert {"opened", "read", "write", "prepared", "decided", "store-commit", "settle"} <= set(crashes("lines").passes)


def test_the_suite_is_a_class_of_tests() -> None:
    suite = crash_suite(lambda folder: folder / "none.yaml", written, store="file")
    assert [name for name in dir(suite) if name.startswith("test")] == ["test_every_place"]
    with pytest.raises(Exception, match=r"none\.yaml"):
        suite().test_every_place()


@pytest.mark.parametrize(
    ("guarantee", "found", "wrong"),
    [
        ("exactly_once", "aab", ""),
        ("exactly_once", "aabb", "too many"),
        ("exactly_once", "ab", "lost"),
        ("effectively_once", "aaab", "too many"),
        ("at_least_once", "aaabb", ""),
        ("at_least_once", "abbb", "lost"),
        ("at_least_once", "aabc", "never to be written"),
        ("at_most_once", "a", ""),
        ("at_most_once", "aaab", "too many"),
        ("best_effort", "abbb", ""),
        ("best_effort", "c", "never to be written"),
    ],
)
def test_what_a_guarantee_allows(guarantee: str, found: str, wrong: str) -> None:
    verdict = judged("decided", "out", guarantee, counted("aab"), counted(found))
    assert wrong in verdict.wrong
    assert verdict.held == (not wrong)


def test_only_exactly_once_promises_what_is_seen_meanwhile() -> None:
    assert not seen("decided", "out", "exactly_once", counted("a"), counted("aa")).held
    assert seen("decided", "out", "effectively_once", counted("a"), counted("aa")).held
    assert seen("decided", "out", "exactly_once", counted("aab"), counted("a")).held


def test_the_table_sums_up_by_place_and_sink() -> None:
    rows = [["decided", "out", "at_least_once", True, 0, 5], ["decided", "out", "at_least_once", True, 0, 0]]
    lines = list(table([({"flow": "map", "store": "file"}, rows), ({"flow": "keyed", "store": "file"}, rows[1:])]))
    assert lines == ["| place | file `out` |", "|---|---|", "| `decided` | 3 (1 doubled) |"]
    broken = [["decided", "out", "exactly_once", False, 2, 0]]
    assert list(table([({}, broken)]))[-1] == "| `decided` | **0 of 1** (1 lost) |"
