"""A run that is frozen, replaced and woken up again cannot write anywhere: neither its state nor a sink."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from crash_flows import content, flow, making

from dataflare.testing import Crashes
from dataflare.testing.crash_suite import Stage, finished
from dataflare.testing.forked import Ended, Forked

FULL = os.environ.get("DATAFLARE_CRASHES") == "full"
TARGETS: dict[str, tuple[str, ...]] = {"file": ("staged", "one_file", "spooled"), "sqlite": ("transactional",)}
"""By store. SQLite alone: a process frozen inside another sink's transaction would keep everybody out."""
if FULL:
    TARGETS["postgres"] = ("postgres", "parquet")
PLACES = ("prepared", "decided", "sink-commit", "sink-publish", "settle")
if FULL:
    PLACES += ("barrier", "commit-point", "store-committed", "committed", "acknowledge")
INSIDE_SQLITE = ("store-lease", "store-commit", "sink-move") if FULL else ("store-commit",)
"""Places in a transaction of SQLite: a process that is frozen there holds the file's lock, so nobody replaces it."""
PACE = "engine: {uses: pipeline/pipeline, with: {lease: {beat: 50ms, patience: 300ms}}}"


@pytest.fixture(scope="module", params=TARGETS)
def crashes(request: pytest.FixtureRequest) -> Crashes:
    return Crashes(making(flow("keyed", request.param, TARGETS[request.param], more=PACE)), content)


def woken(run: Forked) -> Ended:
    run.send(signal.SIGCONT)
    return run.end()


def places(crashes: Crashes) -> Iterator[str]:
    """A pass in the middle of each place."""
    for point in PLACES:
        if passes := crashes.passes[point]:
            yield f"{point}:{(passes + 1) // 2}"


def frozen(stage: Stage, place: str) -> Forked | None:
    """A run that has come to a halt there; None where it ended without passing it."""
    run = stage.start(f"{place}:stop")
    if run.until_frozen():
        return run
    finished(run.end())
    return None


def codes(ended: Ended) -> list[str]:
    """The problems that a run ended with."""
    return [problem["code"] for problem in (ended.json or {}).get("problems", [])]


def is_fenced(ended: Ended) -> bool:
    """Whether a run says that somebody else has taken its place."""
    return ended.code == 1 and any(code.endswith(".fenced") for code in codes(ended))


def is_locked_out(ended: Ended) -> bool:
    """Whether a run was kept out because another one is frozen inside a transaction of SQLite, a heartbeat's maybe."""
    return ended.code == 1 and "locked by another process" in ended.err


def test_frozen_anywhere_and_replaced_it_wakes_up_to_nothing(crashes: Crashes) -> None:
    wrong = []
    for place in places(crashes):
        with crashes.stage() as stage:
            zombie = frozen(stage, place)
            if zombie is None:
                continue
            successor, ended = stage.run(), woken(zombie)
            if is_locked_out(successor):
                successor = stage.run()
            elif not is_fenced(ended):
                wrong.append(f"{place}: the zombie ended with {ended}")
            finished(successor)
            wrong += [f"{place}: {each}" for each in crashes.judge([place], stage) if not each.held]
            again = stage.run()
            if not (again.json or {}).get("nothing_new"):
                wrong.append(f"{place}: the next run had something to do: {again}")
    assert wrong == []


def test_it_wakes_up_while_its_successor_is_in_the_middle(crashes: Crashes) -> None:
    """It ends, and takes nothing from its successor, which holds still meanwhile."""
    wrong = []
    for place in places(crashes):
        with crashes.stage() as stage:
            zombie = frozen(stage, place)
            if zombie is None:
                continue
            successor = stage.start("decided:1:stop")
            halfway = successor.until_frozen()
            ended = woken(zombie)
            if halfway and not is_fenced(ended):
                wrong.append(f"{place}: the zombie ended with {ended}")
            outcome = woken(successor) if halfway else successor.end()
            finished(stage.run() if is_locked_out(outcome) else outcome)
            wrong += [f"{place}: {each}" for each in crashes.judge([place], stage) if not each.held]
    assert wrong == []


def test_frozen_before_it_has_the_lease_it_is_one_of_two_that_want_it() -> None:
    crashes = Crashes(making(flow("map", "file", ["staged", "one_file"], more=PACE)), content)
    with crashes.stage() as stage:
        late = frozen(stage, "store-lease:1")
        assert late is not None
        finished(stage.run())
        finished(woken(late))
        assert [each for each in crashes.judge(["store-lease"], stage) if not each.held] == []


@pytest.mark.parametrize("place", INSIDE_SQLITE)
def test_frozen_inside_a_transaction_of_sqlite_it_keeps_others_out_until_it_is_ended(place: str) -> None:
    crashes = Crashes(making(flow("map", "sqlite", ["transactional"], more=PACE)), content)
    with crashes.stage() as stage:
        zombie = frozen(stage, f"{place}:1")
        assert zombie is not None
        refused = stage.run()
        assert refused.code == 1
        assert "locked by another process" in refused.err
        zombie.send(signal.SIGKILL)
        zombie.end()
        finished(stage.run())
        assert [each for each in crashes.judge([place], stage) if not each.held] == []


def test_a_run_that_lives_is_not_replaced() -> None:
    """Neither in the same folder, nor by its lease where the folder's lock says nothing."""
    crashes = Crashes(making(flow("map", "file", ["staged", "one_file"], more=PACE)), content)
    with crashes.stage() as stage:
        first = stage.start("prepared:1:stop")
        assert first.until_frozen()
        second = stage.start("opened:1:stop")
        assert second.until_frozen(), "the first is silent"
        second.send(signal.SIGCONT)
        finished(second.end())
        first.send(signal.SIGCONT)
        assert is_fenced(first.end())


def test_a_file_that_a_frozen_run_has_open_is_left_to_it() -> None:
    """Even where the successor begins anew behind the same rows, nothing that it wrote is written over."""
    crashes = Crashes(making(flow("map", "file", ["one_file"], more=PACE)), content)
    with crashes.stage() as stage:
        zombie = frozen(stage, "sink-publish:2")
        assert zombie is not None
        finished(stage.run("", "--from-start", "--append"))
        before = (stage.folder / "one.jsonl").read_bytes()
        assert is_fenced(woken(zombie))
        assert (stage.folder / "one.jsonl").read_bytes() == before


def test_killed_inside_a_takeover_of_a_target_whose_lock_is_held() -> None:
    crashes = Crashes(making(flow("map", "file", ["one_file", "staged"], more=PACE)), content)
    for place in ("takeover:1", "sink-takeover:1", "sink-takeover:2"):
        with crashes.stage() as stage:
            zombie = frozen(stage, "decided:2")
            assert zombie is not None
            assert stage.run(place).killed
            finished(stage.run())
            assert is_fenced(woken(zombie))
            assert [each for each in crashes.judge([place], stage) if not each.held] == []
