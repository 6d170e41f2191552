"""The sink that writes by key at once: early, repeated without harm, kept out when it is too old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from databases import Place

from dataflare import Batch, ConfigError, Context, Fenced, Resume, Retry
from dataflare.drive import SinkDriver, driver_for
from dataflare_std.sql.upsert import Upsert


def opened(place: Place, *, fence: int = 1, number: int = 0, resume: Resume = Resume(), life: str = "a") -> SinkDriver:
    ctx = Context(flow="shop", step="out", lane=number, fence=fence, incarnation=life, base=Path("/nowhere"))
    driver = driver_for(Upsert(uri=place.uri, table="sales", key=["id"]), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def written(sink: SinkDriver, epoch: int, rows: Any) -> None:
    sink.begin(epoch)
    assert sink.write(Batch.of(rows)) == []


def test_rows_are_there_before_the_epoch_is_decided_and_come_again_without_harm(place: Place) -> None:
    sink = opened(place)
    written(sink, 1, {"id": [1, 2, 1], "v": [1, 2, 3]})
    assert place.rows() == [(1, 3), (2, 2)]
    sink.close()
    again = opened(place, fence=2)
    written(again, 1, {"id": [1, 2, 1], "v": [1, 2, 3]})
    assert again.prepare(1, False) is None
    again.commit(1, [None])
    written(again, 2, {"id": [1, 2], "v": [9, 9], "_op": ["delete", "upsert"]})
    assert place.rows() == [(2, 9)]
    assert again.recover() is None
    again.close()
    assert place.stages() == []


def test_an_older_owner_is_kept_out(place: Place) -> None:
    zombie = opened(place)
    written(zombie, 1, {"id": [1]})
    newer = opened(place, fence=2)
    with pytest.raises((Fenced, Retry)):
        written(zombie, 1, {"id": [2]})
    with pytest.raises(Fenced):
        written(zombie, 1, {"id": [2]})
    assert place.rows() == [(1,)]
    newer.close()


def test_rows_that_were_there_before_are_kept_replaced_or_refused_once(place: Place) -> None:
    place.ask("CREATE TABLE sales (id BIGINT PRIMARY KEY); INSERT INTO sales VALUES (9)")
    with pytest.raises(ConfigError) as caught:
        opened(place)
    assert caught.value.code == "sink.not_empty"
    sink = opened(place, life="b", resume=Resume(made={"existing": "append"}))
    written(sink, 1, {"id": [1]})
    assert place.rows() == [(1,), (9,)]
    sink.close()
    for fence in (1, 2):
        sink = opened(place, life="c", fence=fence, resume=Resume(made={"existing": "replace"}))
        written(sink, 1, {"id": [fence]})
        assert place.rows() == [(number,) for number in range(1, fence + 1)]
        sink.close()


def test_rows_that_the_table_refuses_are_rejected(place: Place) -> None:
    place.ask("CREATE TABLE sales (id BIGINT PRIMARY KEY, v BIGINT NOT NULL CHECK (v < 10))")
    sink = opened(place)
    sink.begin(1)
    refused = sink.write(Batch.of({"id": [1, 2, None], "v": [1, 11, 1]}))
    assert sorted((each.code, each.rows.to_pylist()) for each in refused) == [("sql.check", [1]), ("sql.null_key", [2])]
    assert place.rows() == [(1, 1)]
    sink.close()
