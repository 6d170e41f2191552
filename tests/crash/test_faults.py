"""What the machine does to a run: full disks, dead databases, locked files, jumping clocks, stops under load."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import postgres as pg
import pytest
from crash_flows import DSN, ROWS, content, flow, making

from dataflare.testing import Crashes
from dataflare.testing.crash_suite import Stage, finished

SINKS = ("one_file", "transactional")


def holds(crashes: Crashes, stage: Stage) -> None:
    """The targets are those of an undisturbed run."""
    assert [each for each in crashes.judge(["here"], stage) if not each.held] == []


def little_room() -> None:
    """No file may grow beyond some kilobytes, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 10, resource.RLIM_INFINITY))


@contextmanager
def small_disk(size: str) -> Iterator[Path | None]:
    """A disk of that size; None where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="dataflare-") as folder:
        options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_a_full_disk_stops_the_run_and_loses_nothing(store: str) -> None:
    crashes = Crashes(making(flow("numbered", store, SINKS)), content)
    with small_disk("200k") as disk, crashes.stage() as plain:
        stage = plain if disk is None else Stage(disk, making(flow("numbered", store, SINKS))(disk))
        failed = stage.run("", first=little_room if disk is None else None)
        assert failed.code == 1, failed
        if disk is not None:
            remount(disk, "size=64m")
        finished(stage.run())
        holds(crashes, stage)


def test_a_disk_that_turns_read_only_stops_the_run_and_loses_nothing() -> None:
    crashes = Crashes(making(flow("map", "file", SINKS)), content)
    with small_disk("64m") as disk, crashes.stage() as plain:
        stage = plain if disk is None else Stage(disk, making(flow("map", "file", SINKS))(disk))
        assert stage.run("decided:2").killed
        said = Path(tempfile.gettempdir())
        if disk is None:
            for folder in (stage.folder, stage.folder / "state"):
                folder.chmod(0o500)
        else:
            remount(disk, "ro")
        failed = Stage(said, stage.flow).run()
        assert failed.code == 1, failed
        if disk is None:
            for folder in (stage.folder, stage.folder / "state"):
                folder.chmod(0o700)
        else:
            remount(disk, "rw")
        finished(stage.run())
        holds(crashes, stage)


def jumping() -> None:
    """A clock that goes back an hour, and forward a day, again and again."""
    real, turns = time.time, iter(range(1 << 60))
    time.time = lambda: real() + (-3600, 86_400, 0)[next(turns) % 3]


@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_a_clock_that_jumps_changes_nothing(store: str) -> None:
    crashes = Crashes(making(flow("windowed", store, SINKS)), content)
    for place in ("prepared:2", "decided:2"):
        with crashes.stage() as stage:
            assert stage.run(place, first=jumping).killed
            finished(stage.run("", first=jumping))
            holds(crashes, stage)
    assert datetime.now(UTC).timestamp() == pytest.approx(time.time(), abs=60)


def test_a_store_that_somebody_else_has_locked() -> None:
    crashes = Crashes(making(flow("map", "sqlite", ["one_file"])), content)
    with crashes.stage() as stage:
        run = stage.start("decided:1:stop")
        assert run.until_frozen()
        other = sqlite3.connect(stage.folder / "state.db", isolation_level=None)
        other.execute("begin immediate")
        run.send(signal.SIGCONT)
        assert run.end().code == 1
        other.rollback()
        other.close()
        finished(stage.run())
        holds(crashes, stage)


@pytest.mark.parametrize("place", ["store-commit:2", "store-committed:2", "decided:2"])
def test_postgres_is_killed_and_started_again_in_the_middle_of_a_commit(place: str) -> None:
    text = flow("map", "postgres", ["one_file", "postgres"])
    with pg.server("-c fsync=off") as server:

        def make(folder: Path) -> Path:
            path = making(text.replace(DSN, ""))(folder)
            (folder / "dsn").write_text(server.create(pg.fresh_name()))
            path.write_text(text.replace(DSN, (folder / "dsn").read_text()))
            return path

        crashes = Crashes(make, content)
        with crashes.stage() as stage:
            run = stage.start(f"{place}:stop")
            assert run.until_frozen()
            server.stop()
            server.start()
            run.send(signal.SIGCONT)
            ended = run.end()
            if ended.code:
                finished(stage.run())
            holds(crashes, stage)


def test_stopped_and_started_under_load_again_and_again() -> None:
    # Enough rows that a run is still under way when it comes to look at its signals.
    long = flow("numbered", "file", SINKS).replace(f"count: {ROWS}", "count: 4000")
    crashes = Crashes(making(long), content)
    with crashes.stage() as stage:
        stops = 0
        for _ in range(5):
            run = stage.start("store-committed:2:stop")
            if not run.until_frozen():
                break
            run.send(signal.SIGTERM)
            run.send(signal.SIGCONT)
            ended = run.end()
            assert ended.code == 0, ended
            stops += ended.json["status"] == "stopped"
            if ended.json["status"] == "finished":
                break
        finished(stage.run())
        assert stops
        holds(crashes, stage)
