"""Damage, full disks, wrong files: each is an error with a code and a fix, and what was committed still holds."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.checkpoint import Changes
from dataflare.errors import StateError
from dataflare.store import Store
from dataflare_state import database, mounts, records
from dataflare_state.mounts import filesystem_of

from .conftest import change, checkpoint, held, letter, open_store
from .small_disk import small_disk

DATABASE = Path(".dataflare/state.db")
FOLDER = Path(".dataflare/state")


def refused(work: Callable[[], Any], code: str) -> StateError:
    with pytest.raises(StateError) as error:
        work()
    problem = error.value.problems[0]
    assert problem.code == code
    assert problem.cause or problem.code in ("state.newer_schema", "state.newer_format")
    assert problem.fix
    return error.value


def filled(kind: str, base: Path, epochs: int = 3) -> Store:
    store: Store = open_store(kind, base)
    store.lease("f", "r", "o", 0)
    for epoch in range(epochs):
        store.commit(
            checkpoint(epoch, snapshots={"s": {"0": f"{epoch}" * 5000}}), Changes([change("k", str(epoch))]), 1
        )
        store.settle("f", "r", epoch, 1)
    return store


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_a_checkpoint_of_a_newer_format_is_refused(store: Store) -> None:
    store.lease("f", "r", "o", 0)
    store.commit(replace(checkpoint(1), format=99), Changes(), 1)
    refused(lambda: store.load("f", "r"), "state.newer_format")


@pytest.mark.parametrize(
    ("content", "cause"), [(b"", "empty"), (b"not a database at all, but long enough " * 40, "not a database")]
)
def test_a_file_that_is_no_store_is_refused(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    path.parent.mkdir()
    path.write_bytes(content)
    error = refused(lambda: open_store("sqlite", tmp_path), "state.not_a_store")
    assert cause in str(error)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("create table t (x)")
    refused(lambda: open_store("sqlite", tmp_path, path="theirs.db"), "state.not_a_store")


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    filled("sqlite", tmp_path).close()
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as direct:
        direct.execute("update layout set number = 99")
    refused(lambda: open_store("sqlite", tmp_path), "state.newer_schema")
    filled("file", tmp_path)
    (tmp_path / FOLDER / "store").write_bytes(b"".join(records.encode("store", {"layout": 99}, {})))
    refused(lambda: open_store("file", tmp_path), "state.newer_schema")


def test_a_locked_database_is_told_and_works_again(tmp_path: Path) -> None:
    filled("sqlite", tmp_path).close()
    store = open_store("sqlite", tmp_path, wait=0.05)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
        other.execute("begin immediate")
        refused(lambda: store.commit(checkpoint(3), Changes([change("k", "x")]), 1), "state.locked")
        loaded = store.load("f", "r")
        assert loaded
        assert loaded.epoch == 2
        other.execute("rollback")
    store.commit(checkpoint(3), Changes([change("k", "3")]), 1)
    assert held(store) == {"k": "3"}


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled("sqlite", tmp_path).close()
    connect = database.connect

    def small(path: Path, wait: float) -> sqlite3.Connection:
        connection = connect(path, wait)
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages + 3}")
        return connection

    monkeypatch.setattr(database, "connect", small)
    store = open_store("sqlite", tmp_path)
    large = Changes([change("k", "lost")], [letter(rows=b"x" * 1_000_000)])
    refused(lambda: store.commit(checkpoint(3), large, 1), "state.disk_full")
    assert held(store) == {"k": "2"}
    assert list(store.letters("f")) == []
    store.commit(checkpoint(3), Changes([change("k", "3")]), 1)
    assert held(store) == {"k": "3"}


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "state.disk_full"), (errno.EROFS, "state.unwritable"), (errno.EIO, "state.unreadable")],
)
def test_a_folder_that_takes_no_more_leaves_the_old_state(
    number: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled("file", tmp_path)
    left = [40]
    write = os.write

    def failing(handle: int, content: Any) -> int:
        if left[0] <= 0:
            raise OSError(number, os.strerror(number))
        taken = write(handle, memoryview(content)[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", failing)
    refused(lambda: store.commit(checkpoint(3), Changes([change("k", "lost")], [letter()]), 1), code)
    monkeypatch.undo()
    assert list((tmp_path / FOLDER).rglob(f"{records.ASIDE}*")) == []
    assert held(store) == {"k": "2"}
    store.commit(checkpoint(3), Changes([change("k", "3")]), 1)
    assert held(open_store("file", tmp_path)) == {"k": "3"}


def fill(store: Store, expected: str) -> None:
    """Commit larger and larger epochs until there is no room; what was committed before still holds, and it goes on."""
    epoch, code = 2, ""
    while not code and epoch < 60:
        epoch += 1
        large = Changes([change(str(epoch), "1")], [letter(str(epoch), rows=os.urandom(10_000 * epoch))])
        try:
            store.commit(checkpoint(epoch), large, 1)
        except StateError as error:
            code = error.code
    assert code == expected
    assert held(store) == {"k": "2", **{str(done): "1" for done in range(3, epoch)}}
    assert [found.code for found in store.letters("f")] == [str(done) for done in range(3, epoch)]
    loaded = store.load("f", "r")
    assert loaded
    assert loaded.epoch == epoch - 1


@pytest.mark.parametrize("kind", ["file", "sqlite"])
@pytest.mark.parametrize("mounts", [True, False])
def test_a_disk_that_fills_up_leaves_what_was_committed(kind: str, mounts: bool) -> None:
    with small_disk(2_000_000 if mounts or kind == "sqlite" else 150_000, may_mount=mounts) as folder:
        store = filled(kind, folder)
        # SQLite does not tell a file that may not grow from another failure to write.
        fill(store, "state.unreadable" if kind == "sqlite" and not folder.is_mount() else "state.disk_full")
        store.close()
        store = open_store(kind, folder)
        assert store.load("f", "r")
        store.close()


@pytest.mark.parametrize("what", ["body = replace(body, 'part', 'trap')", "body = replace(body, 'a.csv', 'b.csv')"])
def test_a_damaged_checkpoint_names_the_newest_intact_one_and_takes_none(what: str, tmp_path: Path) -> None:
    store = filled("sqlite", tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as direct:
        direct.execute("update checkpoint set body = body || ' ' where epoch = 1")
        direct.execute(f"update checkpoint set {what} where epoch = 2")
        if "trap" in what:
            direct.execute("update blob set data = data || '!' where digest in "
                           "(select digest from blob_use where epoch = 2)")  # fmt: skip
    error = refused(lambda: store.load("f", "r"), "state.corrupt")
    assert error.problems[0].details == {"intact_epoch": 0}
    assert "--epoch 0" in str(error)
    intact = store.load("f", "r", 0)
    assert intact
    assert intact.epoch == 0


def test_a_missing_snapshot_is_damage(tmp_path: Path) -> None:
    store = filled("sqlite", tmp_path, epochs=1)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as direct:
        direct.execute("delete from blob")
    error = refused(lambda: store.load("f", "r"), "state.corrupt")
    assert error.problems[0].details == {"intact_epoch": None}


def test_damaged_pages_are_told(tmp_path: Path) -> None:
    filled("sqlite", tmp_path).close()
    path = tmp_path / DATABASE
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x55" * (len(content) - 4096)
    path.write_bytes(content)
    refused(lambda: open_store("sqlite", tmp_path).load("f", "r"), "state.corrupt")


def records_of(base: Path, kind: str) -> list[Path]:
    found = sorted((base / FOLDER).rglob("0000000001-*"))
    return [path for path in found if records.read_head(path).kind == kind]


def test_a_damaged_record_names_the_newest_intact_one(tmp_path: Path) -> None:
    store = filled("file", tmp_path)
    last = records_of(tmp_path, "commit")[-1]
    content = last.read_bytes()
    last.write_bytes(content.replace(b'"a.csv"', b'"b.csv"'))
    error = refused(lambda: store.load("f", "r"), "state.corrupt")
    assert error.problems[0].details == {"intact_epoch": 1}
    last.write_bytes(content)
    assert held(store) == {"k": "2"}


@given(cut=st.floats(0, 0.999))
def test_a_cut_record_is_never_taken_for_whole(cut: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        filled("file", base)
        last = records_of(base, "commit")[-1]
        content = last.read_bytes()
        last.write_bytes(content[: int(len(content) * cut)])
        store = open_store("file", base)

        def read_all() -> None:
            store.load("f", "r")
            held(store)

        refused(read_all, "state.corrupt")


def test_a_record_gone_from_the_middle_is_damage(tmp_path: Path) -> None:
    filled("file", tmp_path)
    records_of(tmp_path, "settle")[0].unlink()
    refused(lambda: open_store("file", tmp_path).load("f", "r"), "state.corrupt")


@pytest.mark.parametrize("damaged", ["commit", "settle", "lease"])
def test_a_damaged_region_can_be_reset(damaged: str, tmp_path: Path) -> None:
    filled("file", tmp_path)
    for path in records_of(tmp_path, damaged):
        path.write_bytes(b"\0" * 10)
    store = open_store("file", tmp_path)
    assert store.lease("f", "r", "mender", 1) == 2
    store.reset("f", "r", 2)
    for one in (store, open_store("file", tmp_path)):
        assert one.load("f", "r") is None
        assert held(one) == {}
    store.commit(checkpoint(0, incarnation="new"), Changes([change("k", "new")]), 2)
    assert held(open_store("file", tmp_path)) == {"k": "new"}


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "holiday.jpg").touch()
    refused(lambda: open_store("file", tmp_path), "state.not_a_store")
    (tmp_path / "plain").touch()
    refused(lambda: open_store("file", tmp_path, path="plain"), "state.not_a_store")
    (tmp_path / "empty").mkdir()
    store = open_store("file", tmp_path, path="empty")
    assert store.lease("f", "r", "o", 0) == 1


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_a_place_below_a_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    refused(lambda: open_store(kind, tmp_path, path="plain/below").lease("f", "r", "o", 0), "state.unreadable")


AS_NOBODY = """
import os, sys
from pathlib import Path
from importlib import import_module
from dataflare.context import Context
from dataflare.errors import StateError
import dataflare.config
kind, folder = sys.argv[1], Path(sys.argv[2])
store = getattr(import_module(f"dataflare_state.{kind}"), kind.capitalize())()
store.open(Context(base=folder / "made-before"))
store = getattr(import_module(f"dataflare_state.{kind}"), kind.capitalize())()
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    store.open(Context(base=folder))
    info = store.lease_info("f", "r")
    store.lease("f", "r", "o", info.token if info else 0)
except StateError as error:
    print(error.code)
"""


@pytest.mark.parametrize("kind", ["file", "sqlite"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_without_rights_is_told(kind: str, exists: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        if exists:
            filled(kind, base).close()
        everything = [base, *(path for path in base.rglob("*"))]
        for path in everything:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            ran = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, kind, folder], capture_output=True, text=True, check=False
            )
        finally:
            for path in everything:
                path.chmod(0o755 if path.is_dir() else 0o644)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == "state.unwritable"


MOUNTS = "\n".join(
    [
        "/dev/vda / ext4 rw 0 0",
        "server:/home /home nfs4 rw 0 0",
        "/dev/vdb /home/local xfs rw 0 0",
        "server:/odd /mnt/with\\040space cifs rw 0 0",
        "broken",
    ]
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home/me/x", "nfs4"),
        ("/home/local/x", "xfs"),
        ("/homely", "ext4"),
        ("/mnt/with space/x", "cifs"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


def test_sqlite_refuses_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "read_mounts", lambda: f"x / ext4 rw 0 0\nserver:/x {tmp_path.resolve()} nfs4 rw 0 0")
    error = refused(lambda: open_store("sqlite", tmp_path).lease("f", "r", "o", 0), "state.network_filesystem")
    assert "state/file" in str(error)
    assert not (tmp_path / DATABASE).exists()
    assert open_store("file", tmp_path).lease("f", "r", "o", 0) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "delete from piece",
        "update piece set data = zeroblob(length(data)) where number = 1",
        "update state set pieces = '[]'",
        "delete from state",
    ],
)
def test_a_damaged_piece_of_keyed_state_is_told(damage: str, tmp_path: Path) -> None:
    store = filled("sqlite", tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as direct:
        direct.execute(damage)
    error = refused(lambda: held(store), "state.corrupt")
    assert "its" in str(error)
    loaded = store.load("f", "r")
    assert loaded
    assert loaded.epoch == 2


def test_the_end_of_a_head_is_part_of_it(tmp_path: Path) -> None:
    store = filled("file", tmp_path)
    last = records_of(tmp_path, "settle")[-1]
    last.write_bytes(last.read_bytes()[:-1] + b" ")
    refused(lambda: store.load("f", "r"), "state.corrupt")
    refused(lambda: open_store("file", tmp_path).load("f", "r"), "state.corrupt")
