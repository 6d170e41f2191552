"""Keys as canonical bytes: the same value gives the same bytes, whatever the width or encoding of its column.

Each key column is one tag byte and a payload, little endian; the columns follow one another.

====  ==============================  ============================================================
tag   value                           payload
====  ==============================  ============================================================
00    null                            none
01    boolean                         1 byte
02    whole number                    int64
03    whole number above int64        uint64
04    floating number                 float64; -0.0 is 0.0, every NaN is 7ff8000000000000
05    decimal                         u32 length, shortest plain text (``-1.5``)
06    text                            u32 length, UTF-8
07    binary                          u32 length, bytes
08    date                            int64 days since 1970
09    time in UTC                     int64 microseconds since 1970, u16 nanoseconds below those
0a    time without a zone             as 09
0b    time of day                     int64 nanoseconds
0c    duration                        as 09
====  ==============================  ============================================================
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

_NULL = b"\x00"
_SAMPLE = 1024
_TEXTUAL = (5, 6, 7)
_MOMENTS = (9, 10, 12)
_NANOS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


def encode(batch: Any, columns: Sequence[str]) -> list[bytes]:
    """The key of each row of a Batch or record batch: the canonical bytes of these columns.

    Raises ConfigError (``keys.column``) for a column that is not there, (``keys.type``) for one that cannot be a key
    (lists, structs, maps, intervals).
    """
    record_batch: pa.RecordBatch = getattr(batch, "arrow", batch)
    parts = [_encoded(_column(record_batch, name), name) for name in columns]
    if not parts:
        return [b""] * record_batch.num_rows
    if len(parts) == 1:
        return _listed(parts[0])
    import pyarrow as pa
    import pyarrow.compute as pc

    keys: list[bytes] = pc.binary_join_element_wise(*map(_plain, parts), pa.scalar(b"")).to_pylist()
    return keys


def decode(keys: Sequence[bytes], schema: Any) -> pa.RecordBatch:
    """The key rows that ``encode`` was given, in the types of ``schema``: the key columns in their order.

    Raises StateError (``state.corrupt_key``) for bytes that are no key of that many columns.
    """
    from dataflare.casting import from_arrays
    from dataflare.errors import StateError
    from dataflare.schema import Schema

    wanted: pa.Schema = Schema(schema).arrow
    values: list[list[Any]] = [[] for _ in wanted]
    for key in keys:
        offset = 0
        try:
            for column in values:
                value, offset = _parsed(key, offset)
                column.append(value)
            if offset != len(key):
                raise ValueError("bytes are left over")
        except (struct.error, IndexError, KeyError, ValueError, ArithmeticError) as error:
            names = ", ".join(f"`{name}`" for name in wanted.names)
            raise StateError.of("state.corrupt_key", f"{key[:40].hex()} is not a key of {names}") from error
    arrays = [_typed(column, field.type) for column, field in zip(values, wanted, strict=True)]
    return from_arrays(arrays, wanted, len(keys))


def _column(record_batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in record_batch.schema.names:
        return record_batch.column(name)
    from dataflare.declare import nearest

    known = record_batch.schema.names
    guess = nearest(name, known)
    raise ConfigError.of(
        "keys.column",
        f"there is no column `{name}` to take the key from",
        cause=f"the columns are {', '.join(f'`{other}`' for other in known)}",
        fix=f"write `{guess}`" if guess else "name a column of the input",
    )


def _encoded(column: pa.Array, name: str) -> pa.Array:
    """The column's part of the key, as a binary array or a dictionary of one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if not pa.types.is_dictionary(column.type) and _repeats(column):
        column = column.dictionary_encode()
    if not pa.types.is_dictionary(column.type):
        return _canonical(column, name)
    values = _canonical(column.dictionary, name)
    if column.null_count or column.dictionary.null_count:
        return pc.fill_null(values.take(column.indices), _NULL)
    return pa.DictionaryArray.from_arrays(column.indices, values)


def _repeats(column: pa.Array) -> bool:
    """Whether few values come again and again, so that each is encoded once."""
    import pyarrow.compute as pc
    from pyarrow import types as is_

    kind = column.type
    if len(column) < _SAMPLE or not (is_.is_integer(kind) or is_.is_string(kind) or is_.is_large_string(kind)):
        return False
    return bool(pc.count_distinct(column.slice(0, _SAMPLE)).as_py() * 4 < _SAMPLE)


def _listed(part: Any) -> list[bytes]:
    import pyarrow as pa

    if not pa.types.is_dictionary(part.type):
        found: list[bytes] = part.to_pylist()
        return found
    values = part.dictionary.to_pylist()
    return [values[index] for index in part.indices.to_pylist()]


def _plain(part: Any) -> pa.Array:
    import pyarrow as pa

    return part.dictionary_decode() if pa.types.is_dictionary(part.type) else part


def _canonical(column: pa.Array, name: str) -> pa.Array:
    """Tag and payload of every value, as a binary array without nulls."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from dataflare.normal import normal_type

    if pa.types.is_null(column.type):
        return pa.array([_NULL] * len(column), pa.binary())
    wanted = normal_type(column.type)
    column = column if wanted == column.type else column.cast(wanted)
    for known, encoder in _encoders():
        if known(column.type):
            return pc.fill_null(encoder(column), _NULL)
    raise ConfigError.of(
        "keys.type",
        f"`{name}` is {column.type}, which cannot be a key",
        fix="take a column of numbers, text, booleans, dates or times; a field of a struct can be made one before",
    )


def _encoders() -> Sequence[tuple[Callable[[Any], bool], Callable[[Any], Any]]]:
    from pyarrow import types as is_

    return (
        (is_.is_boolean, _booleans),
        (is_.is_integer, _integers),
        (is_.is_floating, _floats),
        (is_.is_decimal, _decimals),
        (is_.is_string, lambda column: _sized(6, column)),
        (lambda kind: is_.is_binary(kind) or is_.is_fixed_size_binary(kind), lambda column: _sized(7, column)),
        (is_.is_date, _dates),
        (is_.is_timestamp, lambda column: _moments(10 if column.type.tz is None else 9, column)),
        (is_.is_time, _times),
        (is_.is_duration, lambda column: _moments(12, column)),
    )


def _booleans(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(column, pa.scalar(b"\x01\x01"), pa.scalar(b"\x01\x00"))


def _integers(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type != pa.uint64():
        return _fixed(2, column.cast(pa.int64()))
    large = pc.greater(column, pa.scalar(2**63 - 1, pa.uint64()))
    same_bits = _fixed(2, column.view(pa.int64()))
    return pc.if_else(large, _fixed(3, column), same_bits) if pc.any(large).as_py() else same_bits


def _floats(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    wide = column.cast(pa.float64())
    return _fixed(4, pc.if_else(pc.is_nan(wide), float("nan"), pc.add(wide, 0.0)))


def _decimals(column: Any) -> Any:
    import pyarrow as pa

    texts = [None if value is None else _decimal_text(value) for value in column.to_pylist()]
    return _sized(5, pa.array(texts, pa.string()))


def _decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _dates(column: Any) -> Any:
    import pyarrow as pa

    return _fixed(8, column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()))


def _times(column: Any) -> Any:
    import pyarrow as pa

    return _fixed(11, column.cast(pa.time64("ns")).cast(pa.int64()))


def _moments(tag: int, column: Any) -> Any:
    """Microseconds and the nanoseconds below them, so that one moment is one key in every unit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unit = column.type.unit
    count = column.cast(pa.int64())
    if unit != "ns":
        scale = _NANOS[unit] // 1_000
        return _joined(tag, pc.multiply_checked(count, pa.scalar(scale, pa.int64())), pa.scalar(b"\x00\x00"))
    cut = pc.divide(count, 1_000)
    # Arrow divides towards zero; before 1970 the microsecond is the one below.
    micros = pc.subtract(cut, pc.less(count, pc.multiply(cut, 1_000)).cast(pa.int64()))
    rest = pc.subtract(count, pc.multiply(micros, 1_000)).cast(pa.uint16())
    return _joined(tag, micros, _bytes_of(rest, 2))


def _fixed(tag: int, column: Any) -> Any:
    import pyarrow as pa

    return _joined(tag, column, pa.scalar(b""))


def _joined(tag: int, column: Any, tail: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(pa.scalar(bytes([tag])), _bytes_of(column, 8), tail, pa.scalar(b""))


def _bytes_of(column: Any, width: int) -> Any:
    """The little-endian bytes of fixed-width values, read from the column's own memory."""
    import pyarrow as pa

    buffers = column.buffers()
    kind = pa.binary(width)
    return pa.Array.from_buffers(kind, len(column), buffers[:2], offset=column.offset).cast(pa.binary())


def _sized(tag: int, column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    payload = column.cast(pa.binary())
    sizes = _bytes_of(pc.binary_length(payload).cast(pa.uint32()), 4)
    return pc.binary_join_element_wise(pa.scalar(bytes([tag])), sizes, payload, pa.scalar(b""))


def _parsed(key: bytes, offset: int) -> tuple[Any, int]:
    """The value at ``offset`` and where the next begins. Moments and times of day come as nanoseconds."""
    tag, start = key[offset], offset + 1
    if tag == 0:
        return None, start
    if tag == 1:
        return key[start] == 1, start + 1
    if tag in _TEXTUAL:
        (size,) = struct.unpack_from("<I", key, start)
        raw = key[start + 4 : start + 4 + size]
        if len(raw) < size:
            raise ValueError("cut short")
        value = raw if tag == 7 else Decimal(raw.decode()) if tag == 5 else raw.decode()
        return value, start + 4 + size
    if tag in _MOMENTS:
        micros, nanos = struct.unpack_from("<qH", key, start)
        return micros * 1_000 + nanos, start + 10
    form = {2: "<q", 3: "<Q", 4: "<d", 8: "<q", 11: "<q"}[tag]
    return struct.unpack_from(form, key, start)[0], start + 8


def _typed(values: list[Any], type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(type):
        return _typed(values, type.value_type).dictionary_encode().cast(type)
    if is_.is_date(type):
        return pa.array(values, pa.int32()).cast(pa.date32()).cast(type)
    if is_.is_timestamp(type) or is_.is_time(type) or is_.is_duration(type):
        scale = _NANOS[type.unit]
        narrow = pa.int32() if is_.is_time32(type) else pa.int64()
        return pa.array([None if value is None else value // scale for value in values], narrow).cast(type)
    if is_.is_decimal(type):
        return pa.array(values, pa.decimal256(76, type.scale)).cast(type)
    return pa.array(values, type)
