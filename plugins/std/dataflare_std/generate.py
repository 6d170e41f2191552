"""``generate``: made-up rows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError, Context, Demand, Idle, Schema, Source, Split, field
from dataflare.types import parse_duration
from dataflare_std.made import Bits, Made, made_columns

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 65_536
DEFAULT_COLUMNS = {
    "id": "sequence",
    "time": "time(2026-01-01T00:00:00Z, 1s)",
    "device": "choice(boiler, pump, valve, fan)",
    "temperature": "float(-10, 40)",
}


class Generate(Source[int], replay="position"):
    """Make up rows: for trying things out, for tests and for measuring. The same rows come again in a replay."""

    rows: int | None = field(default=None, help="How many rows; without it they never end.", ge=0)
    rate: float | str | None = field(
        default=None,
        help="At most so many rows: `1000/s`, `5/m`, or a number a second; without it as fast as they are taken.",
    )
    columns: dict[str, str] = field(
        default=DEFAULT_COLUMNS,
        help="Column name → how to make it: `sequence(start, step)`, `int(low, high)`, `float(low, high)`, "
        "`choice(a, b)`, `text(length)`, `bool`, `time(start, step)`.",
        min_length=1,
    )
    seed: int = field(default=0, help="Another seed gives other values.", ge=0)
    parts: int = field(
        default=1, help="Into how many splits the rows are dealt out, to be read in parallel.", ge=1, le=1024
    )

    @cached_property
    def made(self) -> dict[str, tuple[Made, Bits]]:
        """The columns to make. Raises ConfigError (``generate.column``)."""
        return made_columns(self.columns, self.seed)

    @cached_property
    def per_second(self) -> float | None:
        """The rate in rows a second. Raises ConfigError (``generate.rate``)."""
        return None if self.rate is None else _rate(self.rate)

    def plan(self) -> Schema:
        """The columns as configured. Raises ConfigError for words that are not understood."""
        _ = self.per_second
        return Schema({name: made.type for name, (made, _) in self.made.items()})

    def splits(self) -> Iterable[Split]:
        """Parts that take the rows in turns: the second of three has rows 1, 4, 7, …"""
        for part in range(self.parts):
            yield Split(
                f"{part}/{self.parts}",
                data={"first": part, "every": self.parts},
                start=0,
                size=self._count(part, self.parts),
            )

    def read(
        self, split: Split, demand: Demand, columns: frozenset[str] | None, ctx: Context, position: int = 0
    ) -> Iterator[Any]:
        """Rows from ``position`` on (the rows of this split already given)."""
        first, every = split.data["first"], split.data["every"]
        count = self._count(first, every)
        pace = _Pace(self.per_second / every) if self.per_second else None
        while count is None or position < count:
            most = min(demand.rows, MOST_ROWS)
            if pace is not None:
                most = min(most, pace.allowed(demand, ctx))
            if count is not None:
                most = min(most, count - position)
            if most <= 0:
                yield Idle(after=0.0)
                continue
            batch = self._batch(first + position * every, most, every, columns)
            position += most
            if pace is not None:
                pace.given(most)
            yield batch, position

    def _count(self, first: int, every: int) -> int | None:
        return None if self.rows is None else len(range(first, self.rows, every))

    def _batch(self, first: int, count: int, every: int, columns: frozenset[str] | None) -> pa.RecordBatch:
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = pc.add(pc.multiply(_row_numbers().slice(0, count), every), first)
        wanted = {name: each for name, each in self.made.items() if columns is None or name in columns}
        if not wanted:
            return pa.record_batch({"rows": pa.nulls(count)}).select([])
        arrays = [made.make(numbers, bits) for made, bits in wanted.values()]
        fields = [pa.field(name, made.type) for name, (made, _) in wanted.items()]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


class _Pace:
    """Lets rows through at a rate, evenly from its making on."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._next = time.monotonic()

    def allowed(self, demand: Demand, ctx: Context) -> int:
        """How many rows may come now; waits for the first one, at most as long as the engine wants an answer in."""
        left = min(self._next, demand.until) - time.monotonic()
        if left > 0:
            ctx.wait(left)
        late = time.monotonic() - self._next
        return 0 if late < 0 else int(late * self._per_second) + 1

    def given(self, rows: int) -> None:
        """So many rows were given."""
        self._next += rows / self._per_second


def _rate(given: float | str) -> float:
    text = given if isinstance(given, str) else f"{given}/s"
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*([\w.]+)\s*", text)
    try:
        if found is None:
            raise ValueError("expected a number of rows and a time")
        unit = found[2] if found[2][0].isdigit() else f"1{found[2]}"
        rate = float(found[1]) / parse_duration(unit)
        if not 0 < rate < float("inf"):
            raise ValueError("the rate must be above zero")
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError.of(
            "generate.rate",
            f"`{given}` is not a rate",
            pointer="/rate",
            cause=str(error),
            fix="write for example `1000/s`, `5/m`, or a number of rows a second",
        ) from None
    return rate


@cache
def _row_numbers() -> pa.Int64Array:
    import pyarrow as pa

    return pa.array(range(MOST_ROWS), pa.int64())
