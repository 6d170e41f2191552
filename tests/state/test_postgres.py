"""What only the PostgreSQL store does: servers that die, connections that are cut, rights, passwords never shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import postgres as pg
import psycopg
import pytest

from dataflare import crash
from dataflare.checkpoint import Changes
from dataflare.config import dump
from dataflare.context import Context
from dataflare.errors import DataflareError, Fenced, StateError
from dataflare_host.cli import main
from dataflare_state.postgres import Postgres

from .conftest import change, checkpoint, held, letter
from .proxy import Proxy
from .small_disk import small_disk

FLOW = """
version: 1
name: counted
sources:
  numbers: {uses: std/generate, with: {rows: 2000}}
steps:
  seen: {uses: std/dedupe, from: numbers, with: {key: id}}
sinks:
  out: {uses: std/files, from: seen, with: {path: out.jsonl, format: jsonl}}
state: {uses: state/postgres, with: {dsn: "${secret:dsn}"}}
checkpoint: {interval: 10ms, rows: 300}
"""

Opener = Callable[..., Postgres]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens a store on a database; closed at the end."""
    stores: list[Postgres] = []

    def open_one(dsn: str, **config: Any) -> Postgres:
        stores.append(Postgres(dsn=dsn, **config))
        stores[-1].open(Context())
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def proxy(postgres_server: pg.Postgres) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="dfpx-", dir="/tmp") as folder:
        made = Proxy(Path(folder), postgres_server.folder)
        yield made
        made.close()


def through(proxy: Proxy, dsn: str) -> str:
    """The same database by way of the proxy."""
    return dsn.partition("?")[0] + f"?host={quote(str(proxy.folder))}"


def refused(work: Callable[[], Any], code: str) -> DataflareError:
    with pytest.raises(DataflareError) as error:
        work()
    problem = error.value.problems[0]
    assert problem.code == code
    assert problem.fix
    return error.value


def direct(dsn: str, *queries: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for query in queries:
            connection.execute(query.encode())


def given(epoch: int) -> Changes:
    """What an epoch changes: ten keys, and a letter that would be seen if it were filed twice."""
    return Changes([change(str(key), str(epoch)) for key in range(10)], [letter(str(epoch))])


def test_a_flow_keeps_its_state_there_by_a_secret_address(postgres: str, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW)
    environment = {**os.environ, "DATAFLARE_SECRET_DSN": postgres}

    def dataflare(*words: str) -> str:
        command = [sys.executable, "-m", "dataflare_host", *words]
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        return ran.stdout

    ran = json.loads(dataflare("run", "flow.yaml", "--json").splitlines()[-1])
    assert (ran["status"], ran["rows"]["written"], ran["guarantee"]) == ("finished", 2000, "exactly_once")
    shown = json.loads(dataflare("state", "inspect", "flow.yaml", "--json"))
    (region,) = shown["regions"].values()
    assert region["epoch"] == ran["epoch"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2000
    assert json.loads(dataflare("run", "flow.yaml", "--json").splitlines()[-1])["nothing_new"]
    assert "${secret:dsn}" in dataflare("run", "flow.yaml", "--plan-only")


def test_no_command_shows_the_password_of_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW.replace("${secret:dsn}", f"postgresql://me:hunter2@/db?host={tmp_path}"))
    for words in (["run", "--plan-only"], ["run", "--json"], ["plan"], ["plan", "--json"], ["explain", "--json"],
                  ["state", "inspect", "--json"]):  # fmt: skip
        where = 2 if words[0] == "state" else 1
        main([*words[:where], str(tmp_path / "flow.yaml"), *words[where:]])
    told = capsys.readouterr()
    assert "me@" in told.err + told.out
    assert "hunter2" not in told.err + told.out


# --- connections that are lost --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_commit_cut_off_at_any_byte_happens_once(way: str, postgres: str, proxy: Proxy, opened: Opener) -> None:
    store = opened(through(proxy, postgres))
    store.lease("f", "r", "o", 0)
    for epoch in range(8):
        store.commit(checkpoint(epoch), given(epoch), 1)  # statements are prepared by now
    before = proxy.carried[way]
    store.commit(checkpoint(8), given(8), 1)
    length = proxy.carried[way] - before
    cuts = {*range(0, length, max(1, length // 25)), *range(length - 12, length)}
    for epoch, cut in enumerate(sorted(cuts), 9):
        proxy.lose(way, cut)
        store.commit(checkpoint(epoch), given(epoch), 1)
        assert store.load("f", "r") == checkpoint(epoch)
        assert proxy.lost == 1
    last = 8 + len(cuts)
    assert held(store) == {str(key): str(last) for key in range(10)}
    assert [found.code for found in store.letters("f")] == [str(epoch) for epoch in range(last + 1)]


def test_a_commit_whose_server_side_hangs_happens_once(postgres: str, proxy: Proxy, opened: Opener) -> None:
    """The network is gone, and the server does not know: our own lost session sits on the lease."""
    store = opened(through(proxy, postgres), lock_timeout=0.1)
    store.lease("f", "r", "o", 0)
    store.commit(checkpoint(0), given(0), 1)
    proxy.lose("down", 300, half=True)
    store.commit(checkpoint(1), given(1), 1)
    assert proxy.lost == 1
    assert [found.code for found in store.letters("f")] == ["0", "1"]
    assert held(store) == {str(key): "1" for key in range(10)}


@pytest.mark.parametrize("cut", [0, 60, 200, 330])
def test_a_lease_whose_answer_is_lost_is_known_to_be_ours(
    cut: int, postgres: str, proxy: Proxy, opened: Opener
) -> None:
    store = opened(through(proxy, postgres))
    store.lease("f", "r", "o", 0)
    proxy.lose("down", cut)
    assert store.lease("f", "r", "o", 1) == 2
    assert proxy.lost == 1
    with pytest.raises(Fenced):
        opened(postgres).lease("f", "r", "o", 1)
    store.commit(checkpoint(0), Changes(), 2)


def test_what_nobody_could_tell_is_told_by_the_next_owner(postgres: str, proxy: Proxy, opened: Opener) -> None:
    store = opened(through(proxy, postgres), reconnect=0)
    store.lease("f", "r", "o", 0)
    proxy.lose("down", 100)
    error = refused(lambda: store.commit(checkpoint(0), given(0), 1), "state.unreachable")
    assert "goes on from its last epoch" in str(error)
    assert store.lease("f", "r", "next", 1) == 2
    known = store.load("f", "r")
    store.commit(checkpoint(known.epoch + 1 if known else 0), Changes(), 2)


def test_a_server_that_dies_and_comes_back_costs_nothing(postgres_server: pg.Postgres, opened: Opener) -> None:
    store = opened(postgres_server.create(pg.fresh_name()))
    store.lease("f", "r", "o", 0)
    dead, back, told = threading.Event(), threading.Event(), list[int]()

    def run() -> None:
        epoch = 0
        while not back.is_set() or len(told) < 300:
            store.commit(checkpoint(epoch), given(epoch), 1)
            store.settle("f", "r", epoch, 1)
            told.append(epoch)
            epoch += 1
            if epoch == 100:
                dead.set()

    runner = threading.Thread(target=run)
    runner.start()
    assert dead.wait(60)
    postgres_server.stop("immediate")
    postgres_server.start()
    back.set()
    runner.join(60)
    assert told == list(range(len(told)))
    last = store.load("f", "r")
    assert last is not None
    assert last.epoch == told[-1]
    assert held(store) == {str(key): str(told[-1]) for key in range(10)}
    assert [found.code for found in store.letters("f")] == [str(epoch) for epoch in told]


def test_a_server_that_is_not_there_is_told_at_once(tmp_path: Path, opened: Opener) -> None:
    error = refused(lambda: opened(f"postgresql://me:hunter2@/db?host={tmp_path}"), "state.unreachable")
    assert "hunter2" not in str(error)
    assert f"me@{tmp_path}/db" in str(error)


# --- other sessions -------------------------------------------------------------------------------------------------


def test_an_owner_frozen_in_a_commit_is_taken_over_and_fenced(
    postgres: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, newer = opened(postgres), opened(postgres, lock_timeout=0.1)
    zombie.lease("f", "r", "zombie", 0)
    zombie.commit(checkpoint(0), given(0), 1)
    frozen, wake = threading.Event(), threading.Event()

    def freeze(name: str) -> None:
        if name == "store-commit" and threading.current_thread() is thread:
            frozen.set()
            wake.wait(60)

    outcome: list[str] = []

    def commit() -> None:
        try:
            zombie.commit(checkpoint(1), given(1), 1)
        except StateError as error:
            outcome.append(error.code)

    thread = threading.Thread(target=commit)
    monkeypatch.setattr(crash, "point", freeze)
    thread.start()
    assert frozen.wait(60)
    zombie.beat("f", "r", 1)  # a commit that takes long does not look like a dead owner
    assert newer.lease("f", "r", "newer", 1) == 2
    assert newer.load("f", "r") == checkpoint(0)
    newer.commit(checkpoint(1, layout=2), Changes([change("0", "newer")]), 2)
    wake.set()
    thread.join(60)
    assert outcome == ["state.fenced"]
    assert newer.load("f", "r") == checkpoint(1, layout=2)
    assert held(newer) == {**{str(key): "0" for key in range(10)}, "0": "newer"}
    assert [found.code for found in newer.letters("f")] == ["0"]


def test_an_owner_frozen_in_a_heartbeat_is_taken_over_and_fenced(postgres: str, opened: Opener) -> None:
    zombie, newer = opened(postgres), opened(postgres, lock_timeout=0.1)
    zombie.lease("f", "r", "zombie", 0)
    zombie.commit(checkpoint(0), given(0), 1)
    with psycopg.connect(postgres) as beating:
        beating.execute("update dataflare.heartbeat set beat = beat + 1")
        assert newer.lease("f", "r", "newer", 1) == 2
        with pytest.raises(psycopg.OperationalError):
            beating.execute("select 1")
    newer.commit(checkpoint(1), given(1), 2)
    refused(lambda: zombie.commit(checkpoint(1), given(1), 1), "state.fenced")
    refused(lambda: zombie.beat("f", "r", 1), "state.fenced")


def test_a_locked_table_and_a_slow_statement_are_told(postgres: str, opened: Opener) -> None:
    patient, hasty = opened(postgres, statement_timeout=0.1), opened(postgres, lock_timeout=0.1)
    patient.lease("f", "r", "o", 0)
    patient.commit(checkpoint(0), given(0), 1)
    with psycopg.connect(postgres) as other:
        other.execute("lock table dataflare.checkpoint in exclusive mode")
        refused(lambda: patient.commit(checkpoint(1), given(1), 1), "state.timeout")
        refused(lambda: hasty.settle("f", "r", 0, 1), "state.locked")
        assert hasty.load("f", "r") == checkpoint(0)
    for store in (patient, hasty):
        assert held(store) == {str(key): "0" for key in range(10)}
    patient.commit(checkpoint(1), given(1), 1)
    hasty.settle("f", "r", 1, 1)


def test_a_server_whose_disk_is_full_is_told(postgres_server: pg.Postgres, opened: Opener) -> None:
    name, everywhere = pg.fresh_name(), postgres_server.dsn()
    with small_disk(32_000_000) as folder:
        store = opened(_on_small_disk(postgres_server, folder, name))
        store.lease("f", "r", "o", 0)
        store.commit(checkpoint(0), given(0), 1)
        if not folder.is_mount():  # then the server says so without being on one
            direct(postgres_server.dsn(name), FULL)
        epoch, code = 0, ""
        while not code and epoch < 40:
            epoch += 1
            large = Changes([change("0", str(epoch))], [letter(str(epoch), rows=os.urandom(2_000_000))])
            try:
                store.commit(checkpoint(epoch), large, 1)
            except StateError as error:
                code = error.code
        assert code == "state.disk_full"
        last = store.load("f", "r")
        assert last is not None
        assert last.epoch == epoch - 1
        assert held(store)["0"] == str(epoch - 1)
        store.close()
        direct(everywhere, f"drop database {name} with (force)")
        if folder.is_mount():
            direct(everywhere, f"drop tablespace {name}")


FULL = """
create function no_room() returns trigger language plpgsql as
    $$ begin raise exception 'no room' using errcode = '53100'; end $$;
create trigger no_room before insert on dataflare.letter for each row execute function no_room()
"""


def _on_small_disk(server: pg.Postgres, folder: Path, name: str) -> str:
    """The address of a database whose tables are in that folder, where that is a disk of its own."""
    if not folder.is_mount():
        return server.create(name)
    place = folder / "tables"
    place.mkdir()
    if server.owner() is not None:
        shutil.chown(place, server.owner())
    direct(server.dsn(), f"create tablespace {name} location '{place}'", f"create database {name} tablespace {name}")
    return server.dsn(name)


# --- rights, other programs, damage ---------------------------------------------------------------------------------


def test_a_user_without_special_rights_needs_only_a_schema(
    postgres: str, postgres_server: pg.Postgres, opened: Opener
) -> None:
    name = postgres.partition("?")[0].rpartition("/")[2]
    role = f"plain_{name}"
    direct(postgres, f"create role {role} login", f"revoke all on database {name} from public",
           f"grant connect on database {name} to {role}")  # fmt: skip
    dsn = postgres.replace("dataflare@", f"{role}@")
    store = opened(dsn)
    assert store.load("f", "r") is None
    refused(lambda: store.lease("f", "r", "o", 0), "state.unwritable")
    direct(postgres, f"create schema kept authorization {role}")
    store = opened(dsn, schema="kept", lock_timeout=0.1)
    store.lease("f", "r", "o", 0)
    with closing(psycopg.connect(dsn)) as sitting:
        sitting.execute("select 1 from kept.lease for update")
        store.lease("f", "r", "o", 1)
        with pytest.raises(psycopg.errors.AdminShutdown):
            sitting.execute("select 1")
    store.commit(checkpoint(0), given(0), 2)
    assert len(held(store)) == 10


def test_a_database_that_may_only_be_read_is_told(postgres: str, opened: Opener) -> None:
    opened(postgres).lease("f", "r", "o", 0)
    direct(postgres, f'alter database "{postgres.partition("?")[0].rpartition("/")[2]}" '
                     "set default_transaction_read_only = on")  # fmt: skip
    store = opened(postgres)
    assert store.flows() == [("f", "r")]
    refused(lambda: store.lease("f", "r", "o", 1), "state.unwritable")


def test_commits_are_durable_whatever_the_database_says(postgres: str, opened: Opener) -> None:
    name = postgres.partition("?")[0].rpartition("/")[2]
    direct(postgres, f'alter database "{name}" set synchronous_commit = off')
    store = opened(postgres)
    with store._session.aside() as connection:
        assert connection is None  # nothing is made by looking
    store.lease("f", "r", "o", 0)
    with store._session.aside() as connection:
        assert connection
        assert connection.execute("show synchronous_commit").fetchone() == ("on",)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("update layout set number = 99", "state.newer_schema"),
        ("delete from layout", "state.not_a_store"),
        ("alter table layout rename number to theirs", "state.not_a_store"),
    ],
)
def test_tables_of_others_are_refused(query: str, code: str, postgres: str, opened: Opener) -> None:
    opened(postgres).lease("f", "r", "o", 0)
    direct(postgres, "set search_path = dataflare", query)
    refused(lambda: opened(postgres), code)


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("update checkpoint set body = replace(body, 'part', 'trap') where epoch = 2", "checkpoint of epoch 2"),
        ("update checkpoint set body = replace(body, 'a.csv', 'b.csv') where epoch = 2", "checkpoint of epoch 2"),
        ("update blob set data = data || '!' where data like '2%'", "a snapshot of epoch 2"),
        ("delete from blob where data like '2%'", "a snapshot of epoch 2 is missing"),
    ],
)
def test_damage_names_the_newest_intact_epoch_and_takes_none(
    query: str, what: str, postgres: str, opened: Opener
) -> None:
    store = opened(postgres)
    store.lease("f", "r", "o", 0)
    for epoch in range(3):
        store.commit(checkpoint(epoch, snapshots={"s": {"0": str(epoch) * 5000}}), given(epoch), 1)
    direct(postgres, "set search_path = dataflare", query,
           "update checkpoint set body = body || ' ' where epoch = 1")  # fmt: skip
    if "trap" in query:
        direct(postgres, "update dataflare.checkpoint set digest = '' where epoch = 2")
    error = refused(lambda: store.load("f", "r"), "state.corrupt")
    assert what in str(error)
    assert error.problems[0].details == {"intact_epoch": 0}
    intact = store.load("f", "r", 0)
    assert intact
    assert intact.epoch == 0


CHANGED = [
    "update checkpoint set settled = true where epoch = 2",
    "update checkpoint set finished = true where epoch = 2",
    "update checkpoint set incarnation = 'j' where epoch = 2",
    "update keyed set value = set_byte(value, 0, get_byte(value, 0) # 1)",
    "update keyed set place = 'x' where place = '1'",
    "update keyed set expires = 99999999999",
    "update letter set rows = set_byte(rows, 0, get_byte(rows, 0) # 1)",
    "update letter set count = count + 1",
    "update letter set place = '{}'",
    "update letter set status = 'gone'",
]


@pytest.mark.parametrize("query", CHANGED)
def test_a_row_that_was_changed_is_told(query: str, postgres: str, opened: Opener) -> None:
    store = opened(postgres)
    store.lease("f", "r", "o", 0)
    for epoch in range(3):
        store.commit(checkpoint(epoch), given(epoch), 1)
    store.commit(checkpoint(3), Changes([change("k", "v")], [letter()]), 1)
    store.settle("f", "r", 3, 1)
    direct(postgres, "set search_path = dataflare", query)

    def read() -> None:
        for epoch in range(4):
            store.load("f", "r", epoch)
        held(store)
        list(store.letters("f", status=None))

    refused(read, "state.corrupt")


def test_a_password_is_never_shown(opened: Opener, tmp_path: Path) -> None:
    for dsn in (
        f"postgresql://me:hunter2@/db?host={tmp_path}",
        "host=x password=hunter2 =",
        "postgresql://me:hunter2@[x",
    ):
        made = Postgres(dsn=dsn)
        shown = [repr(made), str(dump(made)), repr(vars(made))]
        with pytest.raises(DataflareError) as error:
            made.open(Context())
        cause: BaseException | None = error.value
        while cause is not None:
            shown += [str(cause), repr(cause)]
            cause = cause.__cause__
        assert "hunter2" not in "".join(shown)
