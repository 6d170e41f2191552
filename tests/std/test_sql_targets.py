"""The SQL sink keeps the same promises in every database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from databases import Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflare import Batch, ConfigError, Context, Failed, Fenced, Resume, Retry, Schema
from dataflare.drive import SinkDriver, driver_for
from dataflare_std.sql.sink import Sql

ROWS = {"id": [1, 2, 3], "name": ["a", "b", None]}


def opened(
    place: Place, number: int = 0, *, resume: Resume = Resume(), fence: int = 1, life: str = "life-1", **config: Any
) -> SinkDriver:
    ctx = Context(flow="shop", step="out", lane=number, fence=fence, incarnation=life, base=Path("/nowhere"))
    driver = driver_for(Sql(**{"uri": place.uri, "table": "sales", **config}), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def staged(driver: SinkDriver, epoch: int, *batches: Any) -> Any:
    driver.begin(epoch)
    for rows in batches:
        assert driver.write(Batch.of(rows)) == []
    return driver.prepare(epoch, False)


def rejected(driver: SinkDriver, rows: Any) -> list[tuple[str, list[int]]]:
    return [(each.code, each.rows.to_pylist()) for each in driver.write(Batch.of(rows))]


def test_rows_appear_when_their_epoch_is_committed_and_only_once(place: Place) -> None:
    sink = opened(place)
    token = staged(sink, 1, ROWS)
    assert place.rows() == []
    for _ in range(3):
        sink.commit(1, [token])
    assert place.rows() == [(1, "a"), (2, "b"), (3, None)]
    assert sink.recover() == 1
    assert place.stages() == []
    sink.close()


def test_another_instance_commits_by_the_token_alone_and_sweeps_what_a_crash_left(place: Place) -> None:
    crashed = opened(place)
    live = staged(crashed, 1, ROWS)
    crashed.begin(2)
    crashed.write(Batch.of(ROWS))
    crashed.close()
    again = opened(place, fence=2, resume=Resume(epoch=1, tokens={"0": live}))
    assert again.recover() is None
    assert len(place.stages()) == 1
    again.commit(1, [live])
    assert len(place.rows()) == 3
    again.close()


def test_all_lanes_are_committed_together(place: Place) -> None:
    lanes = [opened(place, number) for number in range(2)]
    tokens = [staged(each, 1, {"id": [number]}) for number, each in enumerate(lanes)]
    lanes[1].commit(1, tokens)
    assert place.rows() == [(0,), (1,)]
    assert lanes[0].recover() == 1
    for each in lanes:
        each.close()


def test_an_abort_leaves_nothing_and_the_epoch_may_begin_again(place: Place) -> None:
    sink = opened(place)
    sink.abort(1, [staged(sink, 1, ROWS)])
    sink.begin(1)
    sink.write(Batch.of(ROWS))
    sink.abort(1, [])
    assert place.rows() == []
    sink.commit(1, [staged(sink, 1, ROWS)])
    assert len(place.rows()) == 3
    sink.close()


def test_an_older_owner_is_kept_out(place: Place) -> None:
    zombie = opened(place, fence=1)
    token = staged(zombie, 1, ROWS)
    newer = opened(place, fence=2, resume=Resume(epoch=1, tokens={"0": token}))
    for late in (lambda: zombie.commit(1, [token]), lambda: staged(zombie, 2, ROWS)):
        # PostgreSQL has ended its session, so a call may find the connection lost.
        with pytest.raises((Fenced, Retry)):
            late()
        with pytest.raises(Fenced):
            late()
    with pytest.raises(Fenced):
        opened(place, fence=1)
    assert place.rows() == []
    newer.commit(1, [token])
    assert len(place.rows()) == 3
    newer.close()


def test_a_newer_run_with_fewer_lanes_keeps_all_older_lanes_out(place: Place) -> None:
    zombies = [opened(place, number) for number in range(2)]
    newer = opened(place, fence=2)
    for kinds in ((Fenced, Retry), Fenced):
        with pytest.raises(kinds):
            staged(zombies[1], 1, ROWS)
    with pytest.raises(Fenced):
        opened(place, 2, fence=1)
    assert place.stages() == []
    newer.close()


def test_staged_rows_that_are_gone_are_named(place: Place) -> None:
    sink = opened(place)
    token = staged(sink, 1, ROWS)
    place.ask(f"DROP TABLE {token['stage']}")
    with pytest.raises(Failed) as caught:
        sink.commit(1, [token])
    assert caught.value.code == "sql.staged_missing"
    sink.close()


def test_a_table_with_rows_is_not_written_to_unasked(place: Place) -> None:
    place.ask("CREATE TABLE sales (id INTEGER); INSERT INTO sales VALUES (9)")
    with pytest.raises(ConfigError) as caught:
        opened(place)
    assert caught.value.code == "sink.not_empty"
    kept = opened(place, resume=Resume(made={"existing": "append"}))
    kept.commit(1, [staged(kept, 1, {"id": [1]})])
    assert place.rows() == [(1,), (9,)]
    kept.close()


@pytest.mark.parametrize("rows", [[], [{"id": 9}]])
@pytest.mark.parametrize("mode", [{}, {"mode": "upsert", "key": "id"}])
def test_replacing_happens_with_the_first_commit(place: Place, rows: list[Any], mode: dict[str, Any]) -> None:
    place.ask("CREATE TABLE sales (id INTEGER UNIQUE); INSERT INTO sales VALUES (8); INSERT INTO sales VALUES (9)")
    sink = opened(place, resume=Resume(made={"existing": "replace"}), **mode)
    token = staged(sink, 1, *([rows] if rows else []))
    assert place.rows() == [(8,), (9,)]
    sink.commit(1, [token])
    sink.commit(1, [token])
    assert place.rows() == [(row["id"],) for row in rows]
    sink.commit(2, [staged(sink, 2, {"id": [2]})])
    assert (2,) in place.rows()
    assert len(place.rows()) == len(rows) + 1
    sink.close()


def test_columns_are_added_when_rows_bring_them(place: Place) -> None:
    sink = opened(place)
    sink.commit(1, [staged(sink, 1, {"id": [1]}, {"id": [2], "name": ["b"]})])
    sink.commit(2, [staged(sink, 2, {"id": [3], "price": [1.5]})])
    assert place.rows() == [(1, None, None), (2, "b", None), (3, None, 1.5)]
    sink.close()


def test_a_type_that_grows_within_an_epoch_is_staged_on(place: Place) -> None:
    place.ask("CREATE TABLE sales (id BIGINT, price DOUBLE PRECISION)")
    sink = opened(place)
    small = {"id": pa.array([1], pa.int32()), "price": pa.array([1], pa.int32())}
    large = {"id": pa.array([2**40], pa.int64()), "price": pa.array([1.5], pa.float64())}
    sink.commit(1, [staged(sink, 1, small, large)])
    assert place.rows() == [(1, 1.0), (2**40, 1.5)]
    sink.close()


def test_upsert_replaces_and_deletes_by_key_in_order(place: Place) -> None:
    sink = opened(place, mode="upsert", key=["id"])
    sink.commit(1, [staged(sink, 1, {"id": [1, 2, 3, 1], "v": [1, 2, 3, 4]})])
    assert place.rows() == [(1, 4), (2, 2), (3, 3)]
    changes = {"id": [1, 2, 2, 3, 4], "v": [0, 0, 5, 6, 7], "_op": ["delete", "delete", "upsert", None, "append"]}
    sink.commit(2, [staged(sink, 2, changes, {"id": [4], "v": [0], "_op": ["delete"]})])
    assert place.rows() == [(2, 5), (3, 6)]
    sink.commit(3, [staged(sink, 3, {"id": [1, 4], "v": [8, 9]})])
    assert place.rows() == [(1, 8), (2, 5), (3, 6), (4, 9)]
    sink.close()


def test_upsert_makes_the_index_of_its_key(place: Place) -> None:
    place.ask("CREATE TABLE sales (id INTEGER, day INTEGER, v INTEGER); INSERT INTO sales VALUES (1, 1, 1)")
    sink = opened(place, mode="upsert", key=["id", "day"], resume=Resume(made={"existing": "append"}))
    sink.commit(1, [staged(sink, 1, {"id": [1, 1], "day": [1, 2], "v": [5, 6]})])
    assert place.rows(columns="id, day, v") == [(1, 1, 5), (1, 2, 6)]
    sink.close()


def test_upsert_into_a_table_whose_key_is_not_unique_is_refused(place: Place) -> None:
    place.ask("CREATE TABLE sales (id INTEGER, v INTEGER); INSERT INTO sales VALUES (1, 1), (1, 2)")
    sink = opened(place, mode="upsert", key="id", resume=Resume(made={"existing": "append"}))
    sink.begin(1)
    with pytest.raises(Failed) as caught:
        sink.write(Batch.of({"id": [1], "v": [3]}))
    assert caught.value.code == "sql.key_not_unique"
    sink.close()


def test_rows_that_break_a_constraint_are_rejected_alone(place: Place) -> None:
    place.ask(
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 10));INSERT INTO sales VALUES (1, 1)"
    )
    sink = opened(place, resume=Resume(made={"existing": "append"}))
    sink.begin(1)
    first = rejected(sink, {"id": [1, 2, 2, 3, 4, 5], "v": [1, 2, 3, None, 11, 5]})
    assert sorted(first) == [("sql.check", [4]), ("sql.not_null", [3]), ("sql.unique", [0, 2])]
    assert rejected(sink, {"id": [2, 6], "v": [1, 2]}) == [("sql.unique", [0])]
    sink.commit(1, [sink.prepare(1, False)])
    assert place.rows() == [(1, 1), (2, 2), (5, 5), (6, 2)]
    sink.close()


def test_lanes_that_stage_the_same_unique_value_keep_the_first(place: Place) -> None:
    place.ask("CREATE TABLE sales (id BIGINT UNIQUE)")
    lanes = [opened(place, number) for number in range(2)]
    for each in lanes:
        each.begin(1)
    assert lanes[1].write(Batch.of({"id": [1, 2]})) == []
    assert rejected(lanes[0], {"id": [3, 2]}) == [("sql.unique", [1])]
    lanes[0].commit(1, [each.prepare(1, False) for each in lanes])
    assert place.rows() == [(1,), (2,), (3,)]
    for each in lanes:
        each.close()


def test_a_row_that_another_writer_brings_before_the_commit_is_a_clear_refusal(place: Place) -> None:
    place.ask("CREATE TABLE sales (id BIGINT UNIQUE)")
    sink = opened(place)
    sink.begin(1)
    sink.write(Batch.of({"id": [1]}))
    place.ask("INSERT INTO sales VALUES (1)")
    with pytest.raises(Failed) as caught:
        sink.prepare(1, False)
    assert caught.value.code == "sql.constraint"
    sink.abort(1, [])
    place.ask("DELETE FROM sales")
    token = staged(sink, 1, {"id": [1]})
    place.ask("INSERT INTO sales VALUES (1)")
    with pytest.raises(Failed) as caught:
        sink.commit(1, [token])
    assert caught.value.code == "sql.constraint"
    place.ask("DELETE FROM sales")
    sink.commit(1, [token])
    assert place.rows() == [(1,)]
    sink.close()


def test_a_column_that_the_table_demands_and_nobody_gives_refuses_all_rows(place: Place) -> None:
    place.ask("CREATE TABLE sales (id INTEGER, v INTEGER NOT NULL)")
    sink = opened(place)
    sink.begin(1)
    assert rejected(sink, {"id": [1, 2]}) == [("sql.not_null", [0, 1])]
    assert sink.prepare(1, False) is None
    sink.close()


def test_a_reference_to_a_row_that_is_not_there_is_rejected(place: Place) -> None:
    if place.kind == "sqlite":
        place.ask("CREATE TABLE shops (id INTEGER PRIMARY KEY); INSERT INTO shops VALUES (1)")
        place.ask("CREATE TABLE sales (id INTEGER, shop INTEGER REFERENCES shops (id))")
    else:
        place.ask("CREATE TABLE shops (id BIGINT PRIMARY KEY); INSERT INTO shops VALUES (1)")
        place.ask("CREATE TABLE sales (id BIGINT, shop BIGINT REFERENCES shops (id))")
    sink = opened(place)
    sink.begin(1)
    assert rejected(sink, {"id": [1, 2, 3], "shop": [1, 7, None]}) == [("sql.foreign_key", [1])]
    sink.commit(1, [sink.prepare(1, False)])
    assert place.rows() == [(1, 1), (3, None)]
    sink.close()


def test_columns_that_no_table_holds_are_refused_at_plan_time(place: Place) -> None:
    driver = opened(place)
    with pytest.raises(ConfigError) as caught:
        driver.plan(Schema({"id": pa.int64(), "either": pa.sparse_union([pa.field("a", pa.int64())])}))
    assert caught.value.code == "sql.unsupported_type"
    driver.close()


STEPS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 5), max_size=4),
        st.sampled_from(
            ["fine", "fine", "crash before prepare", "crash after prepare", "crash after decision", "commit twice"]
        ),
    ),
    max_size=6,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, upsert=st.booleans())
def test_whatever_crashes_the_table_holds_each_decided_row_once(
    place: Place, steps: list[tuple[list[int], str]], upsert: bool
) -> None:
    config: dict[str, Any] = {"mode": "upsert", "key": "k"} if upsert else {}
    expected: list[tuple[int, int]] = []
    fence, epoch, live = 1, 0, {}
    place.ask(
        "DROP TABLE IF EXISTS sales; DROP TABLE IF EXISTS dataflare_epochs; DROP TABLE IF EXISTS dataflare_stages"
    )
    sink = opened(place, **config)
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
            sink = opened(place, fence=fence, resume=Resume(epoch=epoch, tokens=live), **config)
            sink.commit(epoch, list(live.values()))
    held = [row for batch in sink.readback() for row in batch.to_rows()] if expected else []
    sink.close()
    wanted = sorted(dict(expected).items()) if upsert else sorted(expected)
    assert sorted((row["k"], row["v"]) for row in held) == wanted
    assert place.stages() == []
