"""Batches, rejects and schemas as parts and JSON: what crosses between a host and a guest."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dataflare.errors import Failed

if TYPE_CHECKING:
    from dataflare.batch import Batch, Rejected
    from dataflare.schema import Schema

Json = Any
Encoding = Literal["arrow", "json"]
"""Arrow: one IPC stream with one batch. JSON: an array of rows, typed by the schema that was announced."""
Part = bytes | memoryview


Room = Callable[[int], memoryview | None]
"""Gives memory to write a large part into, on its way to the other side; None where there is none."""
LARGE = 1 << 20
"""Bytes from which on a room is worth asking for."""


def encode(batch: Batch, encoding: Encoding, room: Room | None = None) -> Part:
    """A batch as one part, written into a ``room`` where it is large and there is one."""
    if encoding == "json":
        from dataflare.json_text import json_text

        return json_text(batch)
    import pyarrow as pa

    def write(sink: pa.NativeFile) -> None:
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch.arrow)

    if room is not None and batch.nbytes >= LARGE:
        measure = pa.MockOutputStream()
        write(measure)
        if (place := room(measure.size())) is not None:
            write(pa.FixedSizeBufferWriter(pa.py_buffer(place)))
            return place
    sink = pa.BufferOutputStream()
    write(sink)
    return memoryview(sink.getvalue())


def decode(part: Part, encoding: Encoding, schema: Schema | None = None) -> Batch:
    """The batch in a part; JSON rows need their schema. Raises Failed ``guest.batch`` where it is none."""
    from dataflare.batch import Batch

    if encoding == "json":
        return _from_json(part, schema)
    from dataflare.guest.arrow_part import read_batch

    return Batch(read_batch(part))


def _from_json(part: Part, schema: Schema | None) -> Batch:
    from dataflare.batch import Batch
    from dataflare.json_columns import LEAST, read_plain
    from dataflare.json_rows import from_json_rows

    if schema is None:
        return Batch.of(json_objects(part))
    plain = read_plain(part, schema.arrow) if len(part) >= LEAST else None
    return Batch(from_json_rows(json_objects(part), schema) if plain is None else plain)


def json_objects(part: Part) -> list[dict[str, Json]]:
    """The rows in a part of JSON, as they stand there. Raises Failed ``guest.batch`` where it holds none."""
    rows = json_list(part)
    if not all(isinstance(row, dict) for row in rows):
        raise Failed.of("guest.batch", "a part is not an array of JSON objects")
    return rows


def json_list(part: Part) -> list[Json]:
    """The values in a part of JSON. Raises Failed ``guest.batch`` where it holds no array."""
    try:
        values = json.loads(bytes(part))
    except (ValueError, RecursionError) as error:
        raise Failed.of("guest.batch", "a part is not JSON", cause=str(error)) from error
    if not isinstance(values, list):
        raise Failed.of("guest.batch", "a part is not a JSON array")
    return values


def encode_rejects(rejected: Iterable[Rejected], parts: list[Part]) -> list[Json]:
    """Rejects as the header has them; their row numbers become parts (u32, little-endian)."""
    told = []
    for each in rejected:
        rows = each.rows.to_pylist()
        told.append({"code": each.code, "message": each.message, "part": len(parts)})
        parts.append(struct.pack(f"<{len(rows)}I", *rows))
    return told


def decode_rejects(told: Sequence[Json], parts: Sequence[Part], rows: int) -> list[Rejected]:
    """The rejects of an answer to a batch of ``rows`` rows. Raises Failed ``guest.rejects``."""
    import pyarrow as pa

    from dataflare.batch import Rejected

    found = []
    for each in told:
        part = part_at(parts, each.get("part"))
        if len(part) % 4:
            raise Failed.of("guest.rejects", "row numbers are not of four bytes each")
        numbers = struct.unpack(f"<{len(part) // 4}I", part)
        if any(number >= rows for number in numbers):
            raise Failed.of("guest.rejects", f"a reject names a row that the batch of {rows} rows does not have")
        found.append(Rejected(pa.array(numbers, pa.int64()), str(each.get("code")), str(each.get("message") or "")))
    return found


def part_at(parts: Sequence[Part], index: Json) -> Part:
    """A part by its number. Raises Failed ``guest.frame`` where there is none."""
    if type(index) is not int or not 0 <= index < len(parts):
        raise Failed.of("guest.frame", "what was sent is not a frame", cause=f"it has no part {index!r}")
    return parts[index]
