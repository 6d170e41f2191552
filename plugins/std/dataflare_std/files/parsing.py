"""What the readers of all formats share: lines as an Arrow column, strict casts, and refusals with their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare.split import Refused
from dataflare_std.files.blocks import SHOWN, Block

if TYPE_CHECKING:
    import polars
    import pyarrow as pa


@dataclass
class Place:
    """Where a block lies: the file's name, and the number of its first line, counted only when somebody asks."""

    file: str
    block: Block
    first_line: Callable[[int], int]
    _line: int = field(default=0, init=False)

    def of(self, row: int, offset: int) -> dict[str, Any]:
        """The place of line ``row`` (from zero) of the block, ``offset`` bytes into it."""
        if not self._line:
            self._line = self.first_line(self.block.start)
        return {"file": self.file, "line": self._line + row, "offset": self.block.start + offset}


@dataclass
class Parsed:
    """The rows of a block, and what could not be read as a row."""

    rows: pa.RecordBatch | None
    refused: list[Refused] = field(default_factory=list)


def refusal(code: str, message: str, raw: bytes, place: dict[str, Any]) -> Refused:
    """A refusal; of a long text only the first 64 KiB are kept."""
    return Refused(code, message, bytes(raw[:SHOWN]), place)


def binary_lines(data: bytes) -> pa.BinaryArray:
    """The lines of a block, without the newlines; nothing follows the last newline."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = pa.array([0, len(data)], pa.int32())
    whole = pa.BinaryArray.from_buffers(pa.binary(), 1, [None, offsets.buffers()[1], pa.py_buffer(data)])
    lines = pc.split_pattern(whole, b"\n").values
    return lines.slice(0, len(lines) - 1) if data.endswith(b"\n") else lines


def whole_lines(view: memoryview, octets: polars.Series) -> pa.StringArray | None:
    """The lines of a block, newlines included and nothing copied; None if some byte is not UTF-8."""
    import pyarrow as pa

    ends = (_true_bits(octets == 0x0A) + 1).to_arrow()
    tail = [] if len(ends) and ends[-1].as_py() == len(view) else [len(view)]
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends, pa.array(tail, pa.int32())])
    kind = pa.string() if (octets < 0x80).all() else pa.binary()
    lines = pa.Array.from_buffers(kind, len(offsets) - 1, [None, offsets.buffers()[1], pa.py_buffer(view)])
    try:
        return lines.cast(pa.string())
    except pa.ArrowInvalid:
        return None


def _true_bits(mask: polars.Series) -> polars.Series:
    """The places of what is true, in order, as 32 bit: where little is, several times as fast as ``arg_true``.

    It looks at 64 bits at a time, and takes the lowest of those that hold any until none is left.
    """
    import polars
    import pyarrow as pa

    whole = len(mask) // 64
    words = polars.Series(pa.UInt64Array.from_buffers(pa.uint64(), whole, [None, mask.to_arrow().buffers()[1]]))
    some = words != 0
    at, words, found = some.arg_true() * 64, words.filter(some), []
    while len(at):
        found.append(at + words.bitwise_trailing_zeros())
        words = words & (words - 1)
        some = words != 0
        at, words = at.filter(some), words.filter(some)
    places = polars.concat(found).sort() if len(found) > 1 else found[0] if found else at
    return polars.concat([places, mask[whole * 64 :].arg_true() + whole * 64], rechunk=True).cast(polars.Int32)


def starts_of(lines: pa.BinaryArray) -> list[int]:
    """The offset of each line in its block."""
    import pyarrow.compute as pc

    lengths = pc.add(pc.binary_length(lines), 1)
    ends = pc.cumulative_sum(lengths.cast("int64")).to_pylist()
    return [0, *ends[:-1]]


def cast_strictly(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values as another type; text of bytes is base64. Raises ``pyarrow.ArrowInvalid`` where one does not fit."""
    import pyarrow as pa

    if array.type == kind:
        return array
    if pa.types.is_null(kind):
        if array.null_count < len(array):
            raise pa.ArrowInvalid("a column without a type yet got a value")
        return pa.nulls(len(array))
    if pa.types.is_binary(kind) and pa.types.is_string(array.type):
        return _from_base64(array)
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        parts = [cast_strictly(part, child.type) for part, child in zip(array.flatten(), kind, strict=True)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        return list_of(array, cast_strictly(array.values, kind.value_type)).cast(kind)
    return array.cast(kind)


def list_of(array: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """The lists of ``array`` over other values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = array.offsets
    if array.null_count:
        starts = pc.if_else(array.is_null(), pa.scalar(None, offsets.type), offsets.slice(0, len(array)))
        offsets = pa.concat_arrays([starts, offsets.slice(len(array))])
    large = pa.types.is_large_list(array.type)
    return (pa.LargeListArray if large else pa.ListArray).from_arrays(offsets, values)


def _from_base64(array: pa.StringArray) -> pa.BinaryArray:
    import polars
    import pyarrow as pa
    from polars.exceptions import ComputeError

    try:
        return polars.Series(array).str.decode("base64", strict=True).to_arrow().cast(pa.binary())
    except ComputeError as error:
        raise pa.ArrowInvalid(f"a text is not base64: {error}") from error
