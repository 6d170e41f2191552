"""Reads an Arrow stream that somebody else wrote: nothing in it is believed before it was checked."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from dataflare.errors import Failed

if TYPE_CHECKING:
    import pyarrow as pa

_DICTIONARY, _BATCH = 2, 3
_HEADER_TYPE, _HEADER = 1, 2
_DATA = 1
_COMPRESSION = 3


def read_batch(part: bytes | memoryview) -> pa.RecordBatch:
    """The rows of an Arrow IPC stream as one batch, checked. Raises Failed ``guest.batch``."""
    import pyarrow as pa

    try:
        buffer = pa.py_buffer(part)
        for message in pa.ipc.MessageReader.open_stream(buffer):
            if _is_compressed(message.metadata.to_pybytes()):
                raise ValueError("its batches are compressed: they could grow without bound")
        reader = pa.ipc.open_stream(buffer)
        batches = list(reader)
        for each in batches:
            # Before they are joined: that believes their offsets.
            each.validate(full=True)
        if len(batches) > 1:
            batches = pa.Table.from_batches(batches).combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=reader.schema)
    except (pa.ArrowException, OSError, ValueError, IndexError, struct.error) as error:
        raise Failed.of("guest.batch", "a part is not an Arrow stream", cause=str(error)) from error


def _is_compressed(metadata: bytes) -> bool:
    """Does this message hold a record batch with compressed buffers? It is a flatbuffer that Arrow has verified."""
    (message,) = struct.unpack_from("<I", metadata)
    kind = metadata[message + at] if (at := _offset(metadata, message, _HEADER_TYPE)) else 0
    if kind not in (_DICTIONARY, _BATCH):
        return False
    table = _table(metadata, message, _HEADER)
    batch = _table(metadata, table, _DATA) if kind == _DICTIONARY else table
    return _offset(metadata, batch, _COMPRESSION) != 0


def _table(buffer: bytes, table: int, field: int) -> int:
    """Where a table in a field of a table begins."""
    at = table + _offset(buffer, table, field)
    return at + int(struct.unpack_from("<I", buffer, at)[0])


def _offset(buffer: bytes, table: int, field: int) -> int:
    """Where a field is in its table; 0: it is not there."""
    (back,) = struct.unpack_from("<i", buffer, table)
    (size,) = struct.unpack_from("<H", buffer, table - back)
    slot = 4 + 2 * field
    return int(struct.unpack_from("<H", buffer, table - back + slot)[0]) if slot < size else 0
