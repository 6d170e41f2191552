"""SIGKILL at any moment, zombies and races between processes: what is read back is the old or the new, whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflare.checkpoint import Changes
from dataflare.errors import Fenced

from .conftest import change, checkpoint, config_of, held, kind_of, letter, open_store

HERE = Path(__file__).parent
Process = subprocess.Popen[str]


@pytest.fixture(params=["file", "sqlite", "postgres"])
def durable(request: pytest.FixtureRequest) -> str:
    return kind_of(request)


@pytest.fixture
def fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: killing a process does not lose what the system holds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize(("kind", "every"), [("file", 1), ("sqlite", 41)])
def test_death_at_any_step_leaves_the_old_or_the_new(kind: str, every: int, fast_folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, HERE / "crash.py", kind, fast_folder, str(every)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    deaths = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(deaths) > 50
    assert [death for death in deaths if not (death["whole"] and death["on"])] == []
    assert {death["told"] for death in deaths} == set(range(11))


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def racer(processes: list[Process], kind: str, folder: Path, name: str, dies_at: str = "") -> Process:
    process = subprocess.Popen(
        [sys.executable, HERE / "racer.py", kind, folder, name, json.dumps(config_of(kind, folder))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DATAFLARE_CRASH": dies_at},
    )
    processes.append(process)
    return process


def say(process: Process, line: str) -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def hear(process: Process) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_processes_that_race_for_a_lease_get_one_winner(durable: str, tmp_path: Path, processes: list[Process]) -> None:
    racers = [racer(processes, durable, tmp_path, str(number)) for number in range(4)]
    assert [hear(one) for one in racers] == ["ready"] * 4
    for one in racers:
        say(one, "0")
    assert sorted(hear(one) for one in racers) == ["fenced"] * 3 + ["lease 1"]


@pytest.mark.parametrize(
    ("point", "token", "epoch"), [("store-lease", 1, None), ("store-commit:3", 2, 1), ("store-committed:3", 2, 2)]
)
def test_death_at_a_crash_point_leaves_what_was_committed(
    durable: str, point: str, token: int, epoch: int | None, tmp_path: Path, processes: list[Process]
) -> None:
    store = open_store(durable, tmp_path)
    store.lease("f", "r", "first", 0)
    runner = racer(processes, durable, tmp_path, "runner", dies_at=point)
    assert hear(runner) == "ready"
    say(runner, "1\ngo")
    assert runner.wait(60) == -signal.SIGKILL
    info, last = store.lease_info("f", "r"), store.load("f", "r")
    assert info is not None
    assert info.token == token
    assert (last and last.epoch) == epoch
    assert set(held(store).values()) == ({str(epoch)} if epoch else set())
    assert store.lease("f", "r", "next", token) == token + 1


def test_a_kill_while_committing_loses_nothing_that_was_told(
    durable: str, fast_folder: Path, processes: list[Process]
) -> None:
    chance = random.Random(7)
    for token in range(6):
        runner = racer(processes, durable, fast_folder, "runner")
        assert hear(runner) == "ready"
        say(runner, str(token))
        assert hear(runner) == f"lease {token + 1}"
        say(runner, "go")
        for _ in range(chance.randrange(1, 60)):
            told = int(hear(runner))
        # The runner is somewhere between this epoch and the next ones when the signal arrives.
        runner.send_signal(signal.SIGKILL)
        assert runner.stdout
        told = int([str(told), *runner.stdout.read().split()][-1])
        store = open_store(durable, fast_folder)
        last = store.load("f", "r")
        assert last is not None
        assert last.epoch in (told, told + 1)
        assert held(store) == {str(number): str(last.epoch) for number in range(50)}
        assert [found.code for found in store.letters("f")] == [str(epoch) for epoch in range(last.epoch + 1)]
        store.close()


def test_a_stopped_owner_that_wakes_up_is_fenced(durable: str, tmp_path: Path, processes: list[Process]) -> None:
    zombie = racer(processes, durable, tmp_path, "zombie")
    assert hear(zombie) == "ready"
    say(zombie, "0")
    assert hear(zombie) == "lease 1"
    store = open_store(durable, tmp_path)
    assert store.lease("f", "r", "new", 1) == 2
    for epoch in range(150):
        # Long enough for the file store to clear its log below the takeover, the zombie's seal included.
        store.commit(checkpoint(epoch), Changes([change("k", str(epoch))]), 2)
        store.settle("f", "r", epoch, 2)
        store.prune("f", "r", 1)
    say(zombie, "go")
    assert hear(zombie) == "fenced"
    loaded = store.load("f", "r")
    assert loaded is not None
    assert loaded.epoch == 149
    assert held(open_store(durable, tmp_path)) == {"k": "149"}


def test_a_zombie_that_slept_through_the_clearing_is_fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked before it slept, so that only the look after its link can tell."""
    zombie, newer = open_store("file", tmp_path), open_store("file", tmp_path)
    zombie.lease("f", "r", "zombie", 0)
    zombie.commit(checkpoint(0), Changes([change("k", "0")]), 1)
    link, slept = os.link, list[bool]()

    def sleeping(source: Any, target: Any) -> None:
        if not slept and Path(target).name == "0000000001-0000000002":
            slept.append(True)
            newer.lease("f", "r", "new", 1)
            for epoch in range(1, 80):
                newer.commit(checkpoint(epoch), Changes([change("k", str(epoch))]), 2)
                newer.settle("f", "r", epoch, 2)
                newer.prune("f", "r", 1)
            assert not Path(target).exists()
        link(source, target)

    monkeypatch.setattr(os, "link", sleeping)
    with pytest.raises(Fenced):
        zombie.commit(checkpoint(1, layout=9), Changes([change("k", "zombie")], [letter("zombie")]), 1)
    assert slept
    for store in (zombie, newer, open_store("file", tmp_path)):
        loaded = store.load("f", "r")
        assert loaded is not None
        assert (loaded.epoch, loaded.layout) == (79, 1)
        assert held(store) == {"k": "79"}
        assert list(store.letters("f", status=None)) == []


def test_a_taker_that_slept_through_other_takeovers_is_fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, newer = open_store("file", tmp_path), open_store("file", tmp_path)
    newer.lease("f", "r", "first", 0)
    newer.commit(checkpoint(0), Changes(), 1)
    link, slept = os.link, list[bool]()

    def sleeping(source: Any, target: Any) -> None:
        if not slept and Path(target).name == "0000000002-0000000000":
            slept.append(True)
            newer.lease("f", "r", "second", 1)
            newer.lease("f", "r", "third", 2)
            for epoch in range(1, 80):
                newer.commit(checkpoint(epoch), Changes(), 3)
                newer.prune("f", "r", 0)
        link(source, target)

    monkeypatch.setattr(os, "link", sleeping)
    with pytest.raises(Fenced):
        late.lease("f", "r", "late", 1)
    assert slept
    info = open_store("file", tmp_path).lease_info("f", "r")
    assert info
    assert (info.token, info.owner) == (3, "third")
    newer.commit(checkpoint(90), Changes(), 3)
    with pytest.raises(Fenced):
        late.commit(checkpoint(91), Changes(), 2)


def test_a_file_is_durable_before_it_has_a_name_and_its_name_before_the_commit_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store("file", tmp_path)
    store.lease("f", "r", "o", 0)
    seen: list[tuple[str, str]] = []
    fsync, link = os.fsync, os.link

    def told_fsync(handle: int) -> None:
        seen.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def told_link(source: Any, target: Any) -> None:
        seen.append(("link", str(source)))
        link(source, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(os, "link", told_link)
    store.commit(checkpoint(0), Changes([change("k", "v")], [letter()]), 1)
    (aside,) = [path for what, path in seen if what == "link" and "/regions/" in path]
    folder = str(Path(aside).parent)
    assert [one for one in seen if folder in one[1]] == [("sync", aside), ("link", aside), ("sync", folder)]
