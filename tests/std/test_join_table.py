"""A stream with a table: rows found, chosen, renamed; a table that changes while the flow runs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare import Batch, ConfigError, DataflareError, Schema
from dataflare.testing import Bench, context
from dataflare.types import Uses
from dataflare_std.files.source import Files
from dataflare_std.join.step import Join

STREAM = pa.schema({"code": pa.string(), "n": pa.int64()})
AIRPORTS = "iata,city,n\nJFK,New York,1\nLHR,London,2\nORY,Paris,3\n"
ON = {"code": "iata"}


def table(folder: Path, text: str = AIRPORTS, **config: Any) -> dict[str, Any]:
    (folder / "airports.csv").write_text(text)
    made: Uses[Any] = Uses("std/files", kind="source")
    made.bind(Files(path="airports.csv", **config))
    return {"table": made}


def bench(folder: Path, uses: dict[str, Any], **config: Any) -> Bench:
    return Bench(Join, ctx=context(base=folder), schemas={"": STREAM}, **{"on": ON, **uses, **config})


def rows(*codes: str | None) -> Batch:
    return Batch.of([{"code": code, "n": number} for number, code in enumerate(codes)], STREAM)


def test_rows_with_a_partner_stay_and_take_its_columns(tmp_path: Path) -> None:
    with bench(tmp_path, table(tmp_path)) as join:
        assert join.feed(rows("LHR", None, "XXX", "JFK")).rows == [
            {"code": "LHR", "n": 0, "city": "London", "right_n": 2},
            {"code": "JFK", "n": 3, "city": "New York", "right_n": 1},
        ]


def test_left_keeps_rows_without_a_partner(tmp_path: Path) -> None:
    with bench(tmp_path, table(tmp_path), how="left", columns="city") as join:
        assert [row["city"] for row in join.feed(rows("XXX", "ORY", None)).rows] == [None, "Paris", None]


def test_a_row_meets_every_row_of_its_key(tmp_path: Path) -> None:
    with bench(tmp_path, table(tmp_path, AIRPORTS + "JFK,Queens,4\n"), columns="city") as join:
        made = join.feed(rows("LHR", "JFK"))
        assert [(row["n"], row["city"]) for row in made.rows] == [(0, "London"), (1, "New York"), (1, "Queens")]


def test_it_is_the_join_of_nested_loops(tmp_path: Path) -> None:
    drawn = random.Random(3)
    lines = [(drawn.randrange(50), number) for number in range(80)]
    text = "k,v\n" + "".join(f"{key},{value}\n" for key, value in lines)
    stream = [{"k": drawn.randrange(60), "n": number} for number in range(300)]
    uses = table(tmp_path, text)
    for how in ("inner", "left"):
        with Bench(Join, ctx=context(base=tmp_path), on="k", how=how, **uses) as join:
            made = [(row["n"], row["v"]) for row in join.feed(stream).rows]
        expected = []
        for row in stream:
            found = [value for key, value in lines if key == row["k"]]
            expected += [(row["n"], value) for value in found] or ([(row["n"], None)] if how == "left" else [])
        assert made == expected


def test_a_refreshed_table_changes_with_the_epoch(tmp_path: Path) -> None:
    uses = table(tmp_path)
    with bench(tmp_path, uses, columns="city", refresh=0) as join:
        (tmp_path / "airports.csv").write_text(AIRPORTS.replace("London", "Londres"))
        assert join.feed(rows("LHR")).rows[0]["city"] == "London"
        join.ctx.epoch += 1
        assert join.feed(rows("LHR")).rows[0]["city"] == "Londres"
        (tmp_path / "airports.csv").unlink()
        join.ctx.epoch += 1
        assert join.feed(rows("LHR")).rows[0]["city"] == "Londres"


def test_a_table_without_refresh_is_read_once(tmp_path: Path) -> None:
    with bench(tmp_path, table(tmp_path), columns="city") as join:
        (tmp_path / "airports.csv").unlink()
        join.ctx.epoch += 1
        assert join.feed(rows("LHR")).rows[0]["city"] == "London"


def test_only_a_table_that_stays_is_deterministic(tmp_path: Path) -> None:
    uses = table(tmp_path)
    assert Join(on=ON, **uses).spec["deterministic"] is True
    assert Join(on=ON, refresh=1, **uses).spec["deterministic"] is False


def test_a_table_that_cannot_be_read_does_not_start(tmp_path: Path) -> None:
    uses = table(tmp_path, AIRPORTS + "odd\n", schema={"iata": "text", "city": "text", "n": "int"})
    with pytest.raises(DataflareError, match="the table cannot be read"):
        bench(tmp_path, uses)


@pytest.mark.parametrize(
    ("changed", "code", "pointer", "says"),
    [
        ({"on": {"cod": "iata"}}, "plan.unknown_column", "/on", "write `code`"),
        ({"on": {"code": "iat"}}, "plan.unknown_column", "/on", "write `iata`"),
        ({"on": {"code": "n"}}, "join.keys", "/on", "two types"),
        ({"columns": "cit"}, "plan.unknown_column", "/columns", "write `city`"),
        ({"prefix": ""}, "plan.duplicate_column", "/prefix", "another `prefix`"),
        ({"within": "1m"}, "join.table", "/within", "no `within`"),
    ],
)
def test_mistakes_are_told_at_their_place(
    tmp_path: Path, changed: dict[str, Any], code: str, pointer: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        bench(tmp_path, table(tmp_path), **changed)
    problem = caught.value.problems[0]
    assert (problem.code, problem.pointer) == (code, pointer)
    assert says in str(problem)


def test_two_streams_and_a_table_are_too_much(tmp_path: Path) -> None:
    from dataflare.drive import ProcessorDriver
    from dataflare.testing.surroundings import drive

    driver = drive(Join, ProcessorDriver, context(base=tmp_path), {"on": ON, **table(tmp_path)})
    with pytest.raises(ConfigError, match="joined to one stream"):
        driver.plan({"left": Schema(STREAM), "right": Schema(STREAM)})
