"""The SQL sink through its driver: each row exactly once, whatever crashes, comes again or comes too late."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Context, Failed, Fenced, Resume, Retry, Schema
from dataflare.drive import SinkDriver, driver_for
from dataflare_std.sql.sink import Sql

ROWS = {"id": [1, 2, 3], "name": ["a", "b", None]}


def lane(
    folder: Path, number: int = 0, *, fence: int = 1, life: str = "life-1", step: str = "out", **config: Any
) -> SinkDriver:
    config = {"uri": "sqlite:///shop.db", "table": "sales", **config}
    ctx = Context(flow="shop", step=step, lane=number, fence=fence, incarnation=life, base=folder)
    driver = driver_for(Sql(**config), ctx)
    assert isinstance(driver, SinkDriver)
    return driver


def opened(folder: Path, number: int = 0, *, resume: Resume = Resume(), **more: Any) -> SinkDriver:
    driver = lane(folder, number, **more)
    driver.open(resume)
    return driver


def staged(driver: SinkDriver, epoch: int, *batches: Any) -> Any:
    driver.begin(epoch)
    for rows in batches:
        assert driver.write(Batch.of(rows)) == []
    return driver.prepare(epoch, False)


def rows_in(folder: Path, table: str = "sales") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def tables_in(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in names if not name.startswith("sqlite_")}


def prepared(folder: Path, text: str) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript(text)


def test_rows_appear_when_their_epoch_is_committed_and_only_once(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    token = staged(sink, 1, ROWS)
    assert rows_in(tmp_path) == []
    for _ in range(3):
        sink.commit(1, [token])
    assert rows_in(tmp_path) == [(1, "a"), (2, "b"), (3, None)]
    assert sink.recover() == 1
    assert tables_in(tmp_path) == {"sales", "dataflare_epochs", "dataflare_stages"}


def test_another_instance_commits_by_the_token_alone(tmp_path: Path) -> None:
    first = opened(tmp_path)
    token = staged(first, 1, ROWS)
    first.close()
    second = opened(tmp_path, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
    assert second.recover() is None
    second.commit(1, [token])
    assert len(rows_in(tmp_path)) == 3


def test_all_lanes_are_committed_together(tmp_path: Path) -> None:
    lanes = [opened(tmp_path, number) for number in range(2)]
    tokens = [staged(each, 1, {"id": [number]}) for number, each in enumerate(lanes)]
    lanes[1].commit(1, tokens)
    assert rows_in(tmp_path) == [(0,), (1,)]
    assert lanes[0].recover() == 1


def test_a_lane_without_rows_has_nothing_to_commit(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    assert staged(sink, 1) is None
    sink.commit(1, [None])
    assert sink.recover() is None


def test_an_abort_leaves_nothing_and_the_epoch_may_begin_again(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.abort(1, [staged(sink, 1, ROWS)])
    sink.begin(1)
    sink.write(Batch.of(ROWS))
    sink.abort(1, [])
    assert rows_in(tmp_path) == []
    sink.commit(1, [staged(sink, 1, ROWS)])
    assert len(rows_in(tmp_path)) == 3


def test_what_a_crash_left_staged_is_dropped_at_the_next_start(tmp_path: Path) -> None:
    crashed = opened(tmp_path)
    live = staged(crashed, 1, ROWS)
    crashed.begin(2)
    crashed.write(Batch.of(ROWS))
    crashed.close()
    again = opened(tmp_path, fence=2, resume=Resume(epoch=1, tokens={"0": live}))
    assert sum(name.startswith("dataflare_stage_") for name in tables_in(tmp_path)) == 1
    again.commit(1, [live])
    assert len(rows_in(tmp_path)) == 3


KILLED = """
import json, os, signal, sys
from pathlib import Path
from dataflare import Batch, Context, Resume
from dataflare.drive import driver_for
from dataflare_std.sql.sink import Sql
ctx = Context(flow="shop", step="out", fence=1, incarnation="life-1", base=Path(sys.argv[1]))
sink = driver_for(Sql(uri="sqlite:///shop.db", table="sales"), ctx)
sink.open(Resume())
for epoch in (1, 2):
    sink.begin(epoch)
    sink.write(Batch.of({"id": [epoch]}))
    print(json.dumps(sink.prepare(epoch, False)) if epoch == 1 else "", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_prepared_survives_sigkill(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert killed.returncode < 0, killed.stderr
    token = json.loads(killed.stdout.splitlines()[0])
    again = opened(tmp_path, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
    again.commit(1, [token])
    assert rows_in(tmp_path) == [(1,)]
    assert tables_in(tmp_path) == {"sales", "dataflare_epochs", "dataflare_stages"}


def test_an_older_owner_is_kept_out(tmp_path: Path) -> None:
    zombie = opened(tmp_path, fence=1)
    token = staged(zombie, 1, ROWS)
    opened(tmp_path, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
    with pytest.raises(Fenced):
        zombie.commit(1, [token])
    with pytest.raises(Fenced):
        staged(zombie, 2, ROWS)
    with pytest.raises(Fenced):
        opened(tmp_path, fence=1)
    assert rows_in(tmp_path) == []


def test_staged_rows_that_are_gone_are_named(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    token = staged(sink, 1, ROWS)
    prepared(tmp_path, f"DROP TABLE {token['stage']}")
    with pytest.raises(Failed) as caught:
        sink.commit(1, [token])
    assert caught.value.code == "sql.staged_missing"


def test_a_table_with_rows_is_not_written_to_unasked(tmp_path: Path) -> None:
    prepared(tmp_path, "CREATE TABLE sales (id INTEGER); INSERT INTO sales VALUES (9)")
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path)
    assert caught.value.code == "sink.not_empty"
    kept = opened(tmp_path, resume=Resume(made={"existing": "append"}))
    kept.commit(1, [staged(kept, 1, {"id": [1]})])
    assert rows_in(tmp_path) == [(1,), (9,)]


@pytest.mark.parametrize("rows", [[], [{"id": 1}]])
def test_replacing_happens_with_the_first_commit(tmp_path: Path, rows: list[Any]) -> None:
    prepared(tmp_path, "CREATE TABLE sales (id INTEGER); INSERT INTO sales VALUES (9)")
    sink = opened(tmp_path, resume=Resume(made={"existing": "replace"}))
    token = staged(sink, 1, *([rows] if rows else []))
    assert rows_in(tmp_path) == [(9,)]
    sink.commit(1, [token])
    sink.commit(1, [token])
    assert rows_in(tmp_path) == [(row["id"],) for row in rows]
    sink.commit(2, [staged(sink, 2, {"id": [2]})])
    assert (2,) in rows_in(tmp_path)
    assert len(rows_in(tmp_path)) == len(rows) + 1


def test_a_restart_of_the_same_life_goes_on(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.commit(1, [staged(sink, 1, {"id": [1]})])
    sink.close()
    again = opened(tmp_path, fence=2, resume=Resume(epoch=1))
    again.commit(2, [staged(again, 2, {"id": [2]})])
    assert rows_in(tmp_path) == [(1,), (2,)]


def test_columns_are_added_when_rows_bring_them(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.commit(1, [staged(sink, 1, {"id": [1]}, {"id": [2], "name": ["b"]})])
    sink.commit(2, [staged(sink, 2, {"id": [3], "price": [1.5]})])
    assert rows_in(tmp_path) == [(1, None, None), (2, "b", None), (3, None, 1.5)]


def test_upsert_replaces_and_deletes_by_key_in_order(tmp_path: Path) -> None:
    sink = opened(tmp_path, mode="upsert", key=["id"])
    sink.commit(1, [staged(sink, 1, {"id": [1, 2, 3, 1], "v": [1, 2, 3, 4]})])
    assert rows_in(tmp_path) == [(1, 4), (2, 2), (3, 3)]
    changes = {"id": [1, 2, 2, 3, 4], "v": [0, 0, 5, 6, 7], "_op": ["delete", "delete", "upsert", None, "append"]}
    sink.commit(2, [staged(sink, 2, changes, {"id": [4], "v": [0], "_op": ["delete"]})])
    assert rows_in(tmp_path) == [(2, 5), (3, 6)]


def test_upsert_rejects_rows_without_key_or_with_unknown_operation(tmp_path: Path) -> None:
    sink = opened(tmp_path, mode="upsert", key="id")
    sink.begin(1)
    rejected = sink.write(Batch.of({"id": [1, None, 3], "_op": ["upsert", "upsert", "merge"]}))
    assert [(each.code, each.rows.to_pylist()) for each in rejected] == [("sql.null_key", [1]), ("sql.unknown_op", [2])]
    sink.commit(1, [sink.prepare(1, False)])
    assert rows_in(tmp_path) == [(1,)]


def test_upsert_into_a_table_whose_key_is_not_unique_is_refused(tmp_path: Path) -> None:
    prepared(tmp_path, "CREATE TABLE sales (id INTEGER, v INTEGER); INSERT INTO sales VALUES (1, 1), (1, 2)")
    sink = opened(tmp_path, mode="upsert", key="id", resume=Resume(made={"existing": "append"}))
    sink.begin(1)
    with pytest.raises(Failed) as caught:
        sink.write(Batch.of({"id": [1], "v": [3]}))
    assert caught.value.code == "sql.key_not_unique"


def test_rows_that_break_a_constraint_are_rejected_alone(tmp_path: Path) -> None:
    prepared(
        tmp_path,
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 10));"
        "INSERT INTO sales VALUES (1, 1)",
    )
    sink = opened(tmp_path, resume=Resume(made={"existing": "append"}))
    sink.begin(1)
    first = sink.write(Batch.of({"id": [1, 2, 2, 3, 4, 5], "v": [1, 2, 3, None, 11, 5]}))
    second = sink.write(Batch.of({"id": [2, 6], "v": [1, 2]}))
    assert [(each.code, each.rows.to_pylist()) for each in first] == [
        ("sql.unique", [0, 2]),
        ("sql.not_null", [3]),
        ("sql.check", [4]),
    ]
    assert [(each.code, each.rows.to_pylist()) for each in second] == [("sql.unique", [0])]
    sink.commit(1, [sink.prepare(1, False)])
    assert rows_in(tmp_path) == [(1, 1), (2, 2), (5, 5), (6, 2)]


def test_lanes_that_stage_the_same_unique_value_fail_before_the_decision(tmp_path: Path) -> None:
    prepared(tmp_path, "CREATE TABLE sales (id INTEGER UNIQUE)")
    lanes = [opened(tmp_path, number) for number in range(2)]
    staged(lanes[0], 1, {"id": [1]})
    lanes[1].begin(1)
    lanes[1].write(Batch.of({"id": [1]}))
    with pytest.raises(Failed) as caught:
        lanes[1].prepare(1, False)
    assert caught.value.code == "sql.constraint"


def test_a_locked_database_asks_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflare_std.sql.sqlite.BUSY_SECONDS", 0.0)
    sink = opened(tmp_path)
    sink.begin(1)
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retry):
            sink.write(Batch.of(ROWS))
        other.execute("ROLLBACK")
    assert sink.write(Batch.of(ROWS)) == []
    sink.commit(1, [sink.prepare(1, False)])
    assert len(rows_in(tmp_path)) == 3


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"uri": "sqlite:///nowhere/shop.db"}, "sql.no_folder"),
        ({"uri": "sqlite:///."}, "sql.cannot_open"),
        ({"uri": "sqlite:///text.db"}, "sql.not_a_database"),
        ({"uri": "mysql://host/shop"}, "sql.uri"),
        ({"uri": "sqlite:///:memory:"}, "sql.uri"),
        ({"mode": "upsert"}, "sql.key_missing"),
        ({"table": "dataflare_epochs"}, "sql.reserved_table"),
    ],
)
def test_what_cannot_work_is_told_by_check_and_by_open(tmp_path: Path, config: dict[str, Any], code: str) -> None:
    (tmp_path / "text.db").write_text("not a database at all")
    sink = lane(tmp_path, **config)
    assert [problem.code for problem in sink.check()] == [code]
    with pytest.raises(ConfigError) as caught:
        sink.open(Resume())
    assert caught.value.code == code
    assert caught.value.problems[0].fix


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    prepared(tmp_path, "CREATE TABLE sales (id INTEGER)")
    damaged = bytearray((tmp_path / "shop.db").read_bytes())
    damaged[100:200] = b"\xff" * 100
    (tmp_path / "shop.db").write_bytes(damaged)
    with pytest.raises(Failed) as caught:
        opened(tmp_path)
    assert caught.value.code in {"sql.corrupt", "sql.failed"}


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"took": pa.duration("s")}, "sql.unsupported_type"),
        ({"Id": pa.int64(), "id": pa.int64()}, "sql.duplicate_column"),
        ({"id": pa.int64(), "_op": pa.string()}, "sql.op_needs_upsert"),
    ],
)
def test_columns_that_a_table_cannot_hold_are_refused_at_plan_time(
    tmp_path: Path, schema: dict[str, Any], code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        lane(tmp_path).plan(Schema(schema))
    assert caught.value.code == code


def test_a_key_that_is_no_column_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        lane(tmp_path, mode="upsert", key="idd").plan(Schema({"id": int}))
    assert caught.value.problems[0].fix == "write `id`"


def test_values_of_every_type_are_kept(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    rows = pa.table(
        {
            "truth": [True],
            "number": pa.array([2**63 - 1], pa.uint64()),
            "real": [1.5],
            "price": [decimal.Decimal("1.10")],
            "raw": [b"\x00\xff"],
            "day": [dt.date(2026, 1, 2)],
            "at": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5, 6)], pa.timestamp("us", "UTC")),
            "noon": pa.array([dt.time(12, 0, 0, 5)], pa.time64("us")),
            "list": [[1, None]],
            "word": pa.array(["w"]).dictionary_encode(),
        }
    )
    sink.commit(1, [staged(sink, 1, rows)])
    text = "2026-01-02T03:04:05.000006Z"
    assert rows_in(tmp_path) == [
        (1, 2**63 - 1, 1.5, "1.10", b"\x00\xff", "2026-01-02", text, "12:00:00.000005", "[1,null]", "w")
    ]
    held = next(sink.readback()).to_rows()[0]
    kept = ("truth", "number", "real", "raw", "day", "at", "noon", "word")
    assert {name: held[name] for name in kept} == {name: rows.to_pylist()[0][name] for name in kept}


def test_a_number_beyond_64_bits_with_sign_is_rejected(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.begin(1)
    rejected = sink.write(Batch.of({"n": pa.array([1, 2**63], pa.uint64())}))
    assert [(each.code, each.rows.to_pylist()) for each in rejected] == [("sql.out_of_range", [1])]


STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=4),
        st.sampled_from(
            ["fine", "fine", "crash before prepare", "crash after prepare", "crash after decision", "commit twice"]
        ),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, upsert=st.booleans())
def test_whatever_crashes_the_table_holds_each_decided_row_once(
    steps: list[tuple[list[int], str]], upsert: bool
) -> None:
    config: dict[str, Any] = {"mode": "upsert", "key": "k"} if upsert else {}
    expected: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, fence, epoch, live = Path(name), 1, 0, {}
        sink = opened(folder, **config)
        for number, (keys, event) in enumerate(steps):
            rows = {"k": pa.array(keys, pa.int64()), "v": pa.array([number] * len(keys), pa.int64())}
            sink.begin(epoch + 1)
            sink.write(Batch.of(rows))
            if event != "crash before prepare":
                token = sink.prepare(epoch + 1, False)
                if event != "crash after prepare":
                    epoch, live = epoch + 1, {"0": token}
                    expected += [(key, number) for key in keys]
                    if event != "crash after decision":
                        sink.commit(epoch, [token])
                    if event == "commit twice":
                        sink.commit(epoch, [token])
            if event.startswith("crash"):
                sink.close()
                fence += 1
                sink = opened(folder, fence=fence, resume=Resume(epoch=epoch, tokens=live), **config)
                sink.commit(epoch, list(live.values()))
        held = [row for batch in sink.readback() for row in batch.to_rows()] if expected else []
        sink.close()
        leftover = {each for each in tables_in(folder) if each.startswith("dataflare_stage_")}
    wanted = sorted(dict(expected).items()) if upsert else sorted(expected)
    assert sorted((row["k"], row["v"]) for row in held) == wanted
    assert not leftover
