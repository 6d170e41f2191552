"""PostgreSQL as target: every type both ways, rights, lost connections, frozen owners, secrets."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import struct
from pathlib import Path
from typing import Any

import postgres as pg
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Context, DataflareError, Failed, Fenced, Resume, Retry, Secret
from dataflare.drive import SinkDriver, driver_for
from dataflare_std.sql.sink import Sql
from dataflare_std.sql.target import Owner

DAY = dt.date(2026, 1, 2)
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "truth": (pa.bool_(), [True, False]),
    "i8": (pa.int8(), [-128, 127]),
    "i16": (pa.int16(), [-(2**15), 2**15 - 1]),
    "i32": (pa.int32(), [-(2**31), 2**31 - 1]),
    "i64": (pa.int64(), [-(2**63), 2**63 - 1]),
    "u8": (pa.uint8(), [0, 255]),
    "u16": (pa.uint16(), [0, 2**16 - 1]),
    "u32": (pa.uint32(), [0, 2**32 - 1]),
    "u64": (pa.uint64(), [0, 2**64 - 1]),
    "f16": (pa.float16(), [0.5, -2.0]),
    "f32": (pa.float32(), [1.5, math.inf]),
    "f64": (pa.float64(), [1e300, -math.inf]),
    "d": (pa.decimal128(12, 3), [decimal.Decimal("-123456789.012"), decimal.Decimal("0.100")]),
    "wide": (pa.decimal256(50, 0), [decimal.Decimal(10**49), decimal.Decimal(-1)]),
    "text": (pa.string(), ["", "ä\t\\N\n\u2028"]),
    "large": (pa.large_string(), ["x" * 70_000, "y"]),
    "view": (pa.string_view(), ["a view of more than twelve bytes", "b"]),
    "raw": (pa.binary(), [b"\x00\xff", b""]),
    "four": (pa.binary(4), [b"abcd", b"\x00\x01\x02\x03"]),
    "word": (pa.dictionary(pa.int32(), pa.string()), ["a", "b"]),
    "day": (pa.date32(), [DAY, dt.date(1, 1, 1)]),
    "day64": (pa.date64(), [DAY, dt.date(9999, 12, 31)]),
    "t32": (pa.time32("ms"), [dt.time(1, 2, 3, 4000), dt.time(0)]),
    "t64": (pa.time64("us"), [dt.time(23, 59, 59, 999_999), dt.time(0)]),
    "ts": (pa.timestamp("us"), [AT, dt.datetime(1, 1, 1)]),
    "tss": (pa.timestamp("s"), [dt.datetime(2026, 1, 2, 3, 4, 5), dt.datetime(9999, 12, 31)]),
    "tz": (pa.timestamp("ms", "Europe/Berlin"), [dt.datetime(2026, 7, 1, tzinfo=dt.UTC)] * 2),
    "span": (pa.duration("us"), [dt.timedelta(days=-3, microseconds=1), dt.timedelta(days=40_000)]),
    "list": (pa.list_(pa.int64()), [[1, None], []]),
    "struct": (pa.struct({"a": pa.int64(), "b": pa.string()}), [{"a": 1, "b": 'x"'}, {"a": None, "b": "\\"}]),
    "none": (pa.null(), [None, None]),
}


def opened(uri: str, *, fence: int = 1, resume: Resume = Resume(), number: int = 0, **config: Any) -> SinkDriver:
    ctx = Context(flow="shop", step="out", lane=number, fence=fence, incarnation="life-1", base=Path("/nowhere"))
    driver = driver_for(Sql(**{"uri": uri, "table": "sales", **config}), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def written(sink: SinkDriver, epoch: int, rows: Any) -> list[tuple[str, list[int]]]:
    sink.begin(epoch)
    found = sink.write(Batch.of(rows))
    sink.commit(epoch, [sink.prepare(epoch, False)])
    return [(each.code, each.rows.to_pylist()) for each in found]


def ask(uri: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(uri, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


def test_values_of_every_type_come_back_as_they_were(postgres: str) -> None:
    columns = {name: pa.array([*values, None], kind) for name, (kind, values) in TYPES.items()}
    sink = opened(postgres)
    assert written(sink, 1, pa.table(columns)) == []
    rows = [row for batch in sink.readback() for row in batch.to_rows()]
    assert rows == pa.table(columns).to_pylist()
    kinds = dict(ask(postgres, "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                               "WHERE attrelid = 'sales'::regclass AND attnum > 0"))  # fmt: skip
    assert (kinds["u64"], kinds["d"], kinds["tz"]) == ("numeric(20,0)", "numeric(12,3)", "timestamp with time zone")
    assert (kinds["list"], kinds["span"], kinds["i8"]) == ("jsonb", "interval", "smallint")
    sink.close()


def test_not_a_number_stays_none(postgres: str) -> None:
    sink = opened(postgres)
    assert written(sink, 1, {"x": [math.nan, 1.0]}) == []
    assert [str(row[0]) for row in ask(postgres, "SELECT x FROM sales")] == ["nan", "1.0"]
    sink.close()


def test_what_postgresql_cannot_hold_is_rejected_alone(postgres: str) -> None:
    sink = opened(postgres)
    sink.begin(1)
    cases: list[tuple[pa.Array, str]] = [
        (pa.array(["a\0", "b"]), "sql.nul"),
        (pa.array([{"x": "a\0"}, {"x": "b"}]), "sql.nul"),
        (pa.array([1, 1000], pa.timestamp("ns")), "sql.out_of_range"),
        (pa.array([2**62, 0], pa.timestamp("s")), "sql.out_of_range"),
        (pa.array([-(2**62), 0], pa.timestamp("us", "UTC")), "sql.out_of_range"),
        (pa.array([7, 1000], pa.duration("ns")), "sql.out_of_range"),
        (pa.array([999, 1000], pa.time64("ns")), "sql.out_of_range"),
        (pa.array([2**31 - 1, 0], pa.date32()), "sql.out_of_range"),
    ]
    for number, (values, code) in enumerate(cases):
        found = sink.write(Batch.of({f"c{number}": values}))
        assert [(each.code, each.rows.to_pylist()) for each in found] == [(code, [0])], values.type
    sink.commit(1, [sink.prepare(1, False)])
    assert len(ask(postgres, "SELECT * FROM sales")) == len(cases)
    sink.close()


def _place(row: dict[str, Any]) -> str:
    return repr(sorted(row.items()))


VALUES = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | st.floats(allow_nan=False),
        "t": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "b": st.none() | st.binary(),
        "d": st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-1e15, max_value=1e15),
        "at": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
    }
)  # fmt: skip
SCHEMA = pa.schema(
    {
        "n": pa.int64(),
        "x": pa.float64(),
        "t": pa.string(),
        "b": pa.binary(),
        "d": pa.decimal128(20, 4),
        "at": pa.timestamp("us", "UTC"),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(VALUES, min_size=1, max_size=20))
def test_any_rows_come_back_as_they_were(postgres: str, rows: list[dict[str, Any]]) -> None:
    ask(postgres, "DROP TABLE IF EXISTS sales, dataflare_epochs, dataflare_stages")
    sink = opened(postgres)
    table = pa.Table.from_pylist(rows, SCHEMA)
    sliced = pa.concat_tables([table.slice(0, 1), table]).slice(1)
    assert written(sink, 1, sliced) == []
    held = [row for batch in sink.readback() for row in batch.to_rows()]
    sink.close()
    assert sorted(held, key=_place) == sorted(rows, key=_place)


def test_rows_are_turned_into_the_types_of_the_table_or_rejected(postgres: str) -> None:
    ask(postgres, "CREATE TABLE sales (n integer, x integer, day date, doc json, short varchar(3), id uuid)")
    sink = opened(postgres)
    rows = pa.table(
        {
            "n": pa.array([1, 2**40, 3, 4, 5, 6], pa.int64()),
            "x": pa.array([1.0, 2.0, 2.5, 4.0, 5.0, 6.0]),
            "day": ["2026-01-02", "2026-01-02", "2026-01-02", "soon", None, "2026-02-03"],
            "doc": pa.array([[1]] * 6),
            "short": ["abc", "abc", "abc", "abc", "abcd", "a"],
            "id": ["00000000-0000-0000-0000-000000000001"] * 6,
        }
    )
    assert sorted(written(sink, 1, rows)) == [("sql.bad_value", [1, 3, 4]), ("sql.lossy", [2])]
    assert ask(postgres, "SELECT n, x, day, short FROM sales ORDER BY n") == [
        (1, 1, DAY, "abc"),
        (6, 6, dt.date(2026, 2, 3), "a"),
    ]
    sink.close()


def test_a_type_that_has_no_way_into_the_column_is_refused(postgres: str) -> None:
    ask(postgres, "CREATE TABLE sales (truth boolean)")
    sink = opened(postgres)
    sink.begin(1)
    with pytest.raises(Failed) as caught:
        sink.write(Batch.of({"truth": [1, 0]}))
    assert caught.value.code == "sql.type_mismatch"
    sink.close()


def test_a_trigger_and_a_check_put_off_refuse_rows_before_the_decision(postgres: str) -> None:
    ask(
        postgres,
        "CREATE TABLE shops (id bigint PRIMARY KEY); INSERT INTO shops VALUES (1);"
        "CREATE TABLE sales (id bigint, shop bigint REFERENCES shops DEFERRABLE INITIALLY DEFERRED);"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.id > 5 THEN RAISE EXCEPTION 'too much'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON sales FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    sink = opened(postgres)
    found = written(sink, 1, {"id": [1, 6, 3], "shop": [1, 1, 2]})
    assert sorted(found) == [("sql.constraint", [1]), ("sql.foreign_key", [2])]
    assert ask(postgres, "SELECT * FROM sales") == [(1, 1)]
    sink.close()


def test_a_table_in_a_schema(postgres: str) -> None:
    ask(postgres, "CREATE SCHEMA shop")
    sink = opened(postgres, table="shop.Sales", mode="upsert", key="id")
    written(sink, 1, {"id": [1, 1], "v": [1, 2]})
    assert ask(postgres, 'SELECT * FROM shop."Sales"') == [(1, 2)]
    sink.close()


def test_missing_rights_are_named_before_anything_is_staged(postgres: str) -> None:
    ask(postgres, "CREATE TABLE sales (id bigint)")
    role = "reader_" + postgres.partition("@/")[2].partition("?")[0]
    ask(
        postgres,
        f"CREATE ROLE {role} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {role}; GRANT SELECT ON sales TO {role}",
    )
    sink = opened(postgres.replace("dataflare@", f"{role}@"))
    sink.begin(1)
    with pytest.raises(ConfigError) as caught:
        sink.write(Batch.of({"id": [1]}))
    assert caught.value.code == "sql.no_permission"
    assert "INSERT" in str(caught.value)
    sink.close()


def ended(uri: str) -> None:
    """End the sessions of sinks in this database, as a restart of the server would."""
    ask(
        uri,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'dataflare/%'",
    )


@pytest.mark.parametrize("lost", ["write", "prepare", "commit", "abort"])
def test_a_lost_connection_asks_to_come_again_and_no_row_comes_twice(postgres: str, lost: str) -> None:
    def call(name: str, *given: Any) -> Any:
        if name == lost:
            ended(postgres)
            with pytest.raises(Retry):
                getattr(sink, name)(*given)
        return getattr(sink, name)(*given)

    sink = opened(postgres)
    sink.begin(1)
    sink.write(Batch.of({"id": [1]}))
    call("write", Batch.of({"id": [2]}))
    token = call("prepare", 1, False)
    call("commit", 1, [token])
    sink.begin(2)
    sink.write(Batch.of({"id": [3]}))
    call("abort", 2, [sink.prepare(2, False)])
    assert ask(postgres, "SELECT id FROM sales ORDER BY 1") == [(1,), (2,)]
    sink.close()


def test_a_server_that_is_not_there_is_told_by_check_and_asks_to_come_again(tmp_path: Path) -> None:
    uri = f"postgresql://ann:hidden@/shop?host={tmp_path}"
    driver = driver_for(Sql(uri=Secret(uri, reference="SHOP"), table="sales"), Context(flow="f", step="s"))
    assert isinstance(driver, SinkDriver)
    problems = list(driver.check())
    assert [problem.code for problem in problems] == ["sql.cannot_open"]
    with pytest.raises(Retry) as caught:
        driver.open(Resume())
    assert "hidden" not in str(problems) + str(caught.value) + repr(driver.component.__dict__)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("dataflare@/", "dataflare@/no_"), "sql.cannot_open"),
        (("postgresql://", "postgresql://u:hidden%zz@"), "sql.uri"),
    ],
)
def test_an_address_that_leads_nowhere_is_named_without_being_shown(
    postgres: str, change: tuple[str, str], code: str
) -> None:
    with pytest.raises(DataflareError) as caught:
        opened(postgres.replace(*change))
    assert caught.value.code == code
    assert "hidden" not in str(caught.value)


def test_a_frozen_owner_does_not_block_its_successor(postgres: str) -> None:
    frozen = opened(postgres, fence=1)
    frozen.begin(1)
    frozen.write(Batch.of({"id": [1]}))
    token = frozen.prepare(1, False)
    target = frozen.component._target  # type: ignore[attr-defined]
    with target._transaction(durable=True):
        target._commit_lane(frozen.token.load(token), 1)
        newer = opened(postgres, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
        newer.commit(1, [token])
        with pytest.raises(psycopg.Error):
            target._rows("SELECT 1")
        target._connection = None
    with pytest.raises(Fenced):
        frozen.commit(1, [token])
    assert ask(postgres, "SELECT * FROM sales") == [(1,)]
    newer.close()


def test_the_binary_form_is_what_postgresql_documents() -> None:
    from dataflare_std.sql.postgres_copy import copy_pieces

    rows = pa.record_batch({"a": pa.array([1, None], pa.int16()), "t": ["x", "yz"]})
    first = struct.pack("!hih", 2, 2, 1) + struct.pack("!i", 1) + b"x"
    second = struct.pack("!hi", 2, -1) + struct.pack("!i", 2) + b"yz"
    assert b"".join(copy_pieces(rows)) == first + second


def test_a_server_that_crashes_loses_no_decided_row_and_doubles_none() -> None:
    with pg.server() as server:
        uri = server.create("shop")

        def crash() -> None:
            server.stop("immediate")
            server.start()

        sink = opened(uri)
        sink.begin(1)
        sink.write(Batch.of({"id": [1, 2]}))
        token = sink.prepare(1, False)
        crash()
        with pytest.raises(Retry):
            sink.commit(1, [token])
        sink.commit(1, [token])
        sink.begin(2)
        sink.write(Batch.of({"id": [3]}))
        ask(uri, f"DROP TABLE {stage_of(sink, 2)}")
        ended(uri)
        with pytest.raises(Retry):
            sink.write(Batch.of({"id": [4]}))
        with pytest.raises(Failed) as caught:
            sink.write(Batch.of({"id": [4]}))
        assert (caught.value.code, caught.value.problems[0].kind) == ("sql.staged_rows", "retry")
        with pytest.raises(Failed) as caught:
            sink.prepare(2, False)
        assert (caught.value.code, caught.value.problems[0].kind) == ("sql.staged_rows", "retry")
        sink.abort(2, [])
        sink.begin(2)
        sink.write(Batch.of({"id": [3, 4]}))
        token = sink.prepare(2, False)
        server.stop("immediate")
        for _ in range(2):
            with pytest.raises(Retry):
                sink.commit(2, [token])
        server.start()
        sink.commit(2, [token])
        assert ask(uri, "SELECT id FROM sales ORDER BY 1") == [(1,), (2,), (3,), (4,)]
        sink.close()


def stage_of(sink: SinkDriver, epoch: int) -> str:
    """The name of the table that holds an epoch before it is decided."""
    return Owner.of(sink.ctx).stage(epoch)
