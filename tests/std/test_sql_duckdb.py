"""DuckDB as target: every type both ways, one file for several lanes, a file that another process has."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dataflare import Batch, ConfigError, Context, DataflareError, Failed, Resume
from dataflare.drive import SinkDriver, driver_for
from dataflare_std.sql.sink import Sql

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "truth": (pa.bool_(), [True, False]),
    "i8": (pa.int8(), [-128, 127]),
    "i64": (pa.int64(), [-(2**63), 2**63 - 1]),
    "u64": (pa.uint64(), [0, 2**64 - 1]),
    "f16": (pa.float16(), [0.5, -2.0]),
    "f64": (pa.float64(), [1e300, -math.inf]),
    "d": (pa.decimal128(12, 3), [decimal.Decimal("-123456789.012"), decimal.Decimal("0.100")]),
    "d256": (pa.decimal256(30, 1), [decimal.Decimal("1.5"), decimal.Decimal("-0.1")]),
    "text": (pa.string(), ["a\0b", "ä\t\\N\n\u2028"]),
    "raw": (pa.binary(), [b"\x00\xff", b""]),
    "word": (pa.dictionary(pa.int32(), pa.string()), ["a", "b"]),
    "day": (pa.date32(), [dt.date(2026, 1, 2), dt.date(1, 1, 1)]),
    "t64": (pa.time64("us"), [dt.time(23, 59, 59, 999_999), dt.time(0)]),
    "ts": (pa.timestamp("us"), [AT, dt.datetime(1, 1, 1)]),
    "tss": (pa.timestamp("s"), [dt.datetime(2026, 1, 2, 3, 4, 5), dt.datetime(9999, 12, 31)]),
    "tz": (pa.timestamp("ms", "Europe/Berlin"), [dt.datetime(2026, 7, 1, tzinfo=dt.UTC)] * 2),
    "span": (pa.duration("us"), [dt.timedelta(days=-3, microseconds=1), dt.timedelta(days=40_000)]),
    "list": (pa.list_(pa.int64()), [[1, None], []]),
    "struct": (
        pa.struct({"a": pa.int64(), "b": pa.list_(pa.string())}),
        [{"a": 1, "b": ["x"]}, {"a": None, "b": None}],
    ),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], []]),
    "none": (pa.null(), [None, None]),
}  # fmt: skip


def opened(folder: Path, number: int = 0, *, resume: Resume = Resume(), step: str = "out", **config: Any) -> SinkDriver:
    ctx = Context(flow="shop", step=step, lane=number, fence=1, incarnation="life-1", base=folder)
    driver = driver_for(Sql(**{"uri": "duckdb:///shop.duckdb", "table": "sales", **config}), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def written(sink: SinkDriver, epoch: int, rows: Any) -> list[tuple[str, list[int]]]:
    sink.begin(epoch)
    found = sink.write(Batch.of(rows))
    sink.commit(epoch, [sink.prepare(epoch, False)])
    return [(each.code, each.rows.to_pylist()) for each in found]


def test_values_of_every_type_come_back_as_they_were(tmp_path: Path) -> None:
    columns = {name: pa.array([*values, None], kind) for name, (kind, values) in TYPES.items()}
    sink = opened(tmp_path)
    assert written(sink, 1, pa.table(columns)) == []
    held = pa.Table.from_batches([batch.arrow for batch in sink.readback()])
    assert held.to_pylist() == pa.table(columns).to_pylist()
    assert (held.schema.field("struct").type, held.schema.field("u64").type) == (TYPES["struct"][0], pa.uint64())
    sink.close()


def test_times_between_two_microseconds_are_kept_where_duckdb_has_them_else_rejected(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    assert written(sink, 1, {"ns": pa.array([1, 1000], pa.timestamp("ns"))}) == []
    assert written(sink, 2, {"tz": pa.array([1, 1000], pa.timestamp("ns", "UTC"))}) == [("sql.out_of_range", [0])]
    assert written(sink, 3, {"span": pa.array([7, 1000], pa.duration("ns"))}) == [("sql.out_of_range", [0])]
    sink.close()


def test_rows_are_turned_into_the_types_of_the_table_or_rejected(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.execute("CREATE TABLE sales (n INTEGER, x INTEGER, day DATE, moment DATE)")
    sink = opened(tmp_path)
    rows = {
        "n": [1, 2**40, 3, 4, 5],
        "x": [1.0, 2.0, 2.5, 4.0, 5.0],
        "day": ["2026-01-02", "2026-01-02", "2026-01-02", "soon", "2026-01-02"],
        "moment": [dt.datetime(2026, 1, 2)] * 4 + [AT],
    }
    assert sorted(written(sink, 1, rows)) == [("sql.bad_value", [1, 2, 3]), ("sql.lossy", [4])]
    day = dt.date(2026, 1, 2)
    held = [row for batch in sink.readback() for row in batch.to_rows()]
    assert held == [{"n": 1, "x": 1, "day": day, "moment": day}]
    sink.close()


def test_several_lanes_and_sinks_share_the_file(tmp_path: Path) -> None:
    lanes = [opened(tmp_path, number) for number in range(2)]
    other = opened(tmp_path, step="other", table="more")
    for each in [*lanes, other]:
        each.begin(1)
    for number, each in enumerate([*lanes, other]):
        each.write(Batch.of({"id": [number]}))
    tokens = [each.prepare(1, False) for each in lanes]
    other.commit(1, [other.prepare(1, False)])
    lanes[1].commit(1, tokens)
    held = [[row for batch in each.readback() for row in batch.to_rows()] for each in (lanes[0], other)]
    assert held == [[{"id": 0}, {"id": 1}], [{"id": 2}]]
    for each in [*lanes, other]:
        each.close()


OTHER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_has_asks_to_come_again_and_names_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path / "shop.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(Failed) as caught:
            opened(tmp_path)
        problem = caught.value.problems[0]
        assert (problem.code, problem.kind) == ("sql.locked", "retry")
        assert str(other.pid) in str(problem.cause)
        other.communicate("")
    sink = opened(tmp_path)
    assert written(sink, 1, {"id": [1]}) == []
    sink.close()


@pytest.mark.parametrize(
    ("uri", "code"), [("duckdb:///nowhere/shop.duckdb", "sql.no_folder"), ("duckdb:///text.db", "sql.not_a_database")]
)
def test_what_cannot_work_is_told(tmp_path: Path, uri: str, code: str) -> None:
    (tmp_path / "text.db").write_text("not a database at all")
    with pytest.raises(DataflareError) as caught:
        opened(tmp_path, uri=uri)
    assert caught.value.code == code


def test_a_view_is_no_table_and_a_table_may_stand_in_a_schema(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.execute("CREATE SCHEMA eu; CREATE TABLE eu.sales (id INTEGER); CREATE VIEW seen AS FROM eu.sales")
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path, table="seen")
    assert caught.value.code == "sql.not_a_table"
    sink = opened(tmp_path, table="eu.sales", mode="upsert", key="id")
    written(sink, 1, {"id": [1, 1]})
    assert [row for batch in sink.readback() for row in batch.to_rows()] == [{"id": 1}]
    sink.close()
