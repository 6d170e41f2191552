"""SQLite as target: what is its own, beside the promises that all databases keep (`test_sql_targets`)."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare import Batch, ConfigError, Context, Failed, Resume, Retry, Schema
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


def test_another_instance_commits_by_the_token_alone(tmp_path: Path) -> None:
    first = opened(tmp_path)
    token = staged(first, 1, ROWS)
    first.close()
    second = opened(tmp_path, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
    assert second.recover() is None
    second.commit(1, [token])
    assert len(rows_in(tmp_path)) == 3


def test_a_lane_without_rows_has_nothing_to_commit(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    assert staged(sink, 1) is None
    sink.commit(1, [None])
    assert sink.recover() is None


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


def test_a_restart_of_the_same_life_goes_on(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.commit(1, [staged(sink, 1, {"id": [1]})])
    sink.close()
    again = opened(tmp_path, fence=2, resume=Resume(epoch=1))
    again.commit(2, [staged(again, 2, {"id": [2]})])
    assert rows_in(tmp_path) == [(1,), (2,)]


def test_upsert_rejects_rows_without_key_or_with_unknown_operation(tmp_path: Path) -> None:
    sink = opened(tmp_path, mode="upsert", key="id")
    sink.begin(1)
    rejected = sink.write(Batch.of({"id": [1, None, 3], "_op": ["upsert", "upsert", "merge"]}))
    assert [(each.code, each.rows.to_pylist()) for each in rejected] == [("sql.null_key", [1]), ("sql.unknown_op", [2])]
    sink.commit(1, [sink.prepare(1, False)])
    assert rows_in(tmp_path) == [(1,)]


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
