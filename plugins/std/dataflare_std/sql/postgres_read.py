"""The rows of a PostgreSQL table as Arrow, with the types of its columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataflare_std.sql.postgres_table import PostgresShape
from dataflare_std.sql.statements import quoted

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

PLAIN = {
    "boolean": "bool_",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float32",
    "double precision": "float64",
    "bytea": "binary",
    "text": "string",
    "character varying": "string",
}


def read_table(
    connection: psycopg.Connection[Any], table: str, shape: PostgresShape, size: int
) -> Iterator[pa.RecordBatch]:
    """All rows, ``size`` at a time, as of one moment."""
    import pyarrow as pa

    columns = [_Column(name, kind, shape.plain[name]) for name, kind in shape.columns.items()]
    wanted = ", ".join(column.expression for column in columns)
    with connection.transaction(), connection.cursor("dataflare_rows") as cursor:
        cursor.execute(f"SELECT {wanted} FROM {table}".encode())
        while part := cursor.fetchmany(size):
            values = zip(*part, strict=True)
            arrays = [column.array(list(given)) for column, given in zip(columns, values, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


class _Column:
    """How a column is read: times as numbers, so that none is beyond what Python can say."""

    def __init__(self, name: str, kind: str, plain: str) -> None:
        import pyarrow as pa

        self.name, self.expression = name, quoted(name)
        self._number: pa.DataType | None = None
        self._type: pa.DataType | None = None
        self._json = plain in ("json", "jsonb")
        micros = f"(extract(epoch FROM {quoted(name)}) * 1000000)::bigint"
        limits = re.fullmatch(r"numeric\((\d+),(\d+)\)", kind)
        if plain in PLAIN:
            self._type = getattr(pa, PLAIN[plain])()
        elif plain == "date":
            self.expression = f"{quoted(name)} - DATE '1970-01-01'"
            self._number, self._type = pa.int32(), pa.date32()
        elif plain in TIMES:
            self.expression, self._number, self._type = micros, pa.int64(), _time(plain)
        elif limits:
            make = pa.decimal128 if int(limits[1]) <= 38 else pa.decimal256
            self._type = make(int(limits[1]), int(limits[2])) if int(limits[1]) <= 76 else None
        elif plain != "numeric":
            self.expression = f"{quoted(name)}::text"

    def array(self, values: list[Any]) -> pa.Array:
        import pyarrow as pa

        if self._number is not None:
            return pa.array(values, self._number).cast(self._type)
        if self._json:
            parsed = [None if value is None else json.loads(value) for value in values]
            try:
                return pa.array(parsed)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return pa.array(values, pa.string())
        return pa.array(values, self._type)


TIMES = ("interval", "time without time zone", "timestamp without time zone", "timestamp with time zone")


def _time(plain: str) -> pa.DataType:
    import pyarrow as pa

    return dict(
        zip(TIMES, (pa.duration("us"), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC")), strict=True)
    )[plain]
