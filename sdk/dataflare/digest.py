"""The order-free digest of rows: the sum of their hashes mod 2^128, never XOR, which would not see a row doubled.

The digest is the same however the rows are cut into batches, in which order they and their columns come, whether text
is in a dictionary, and whether a column of nulls stands beside them. It is computed by column, in Polars (which is
needed for it), and lets other threads run: a value is hashed with its column's name as the seed, the hashes of a row
are added up and hashed twice more, for the two halves. So a row counts for what it is with 64 bits, and a sum of rows
has 128.

Polars does not promise the same hashes in another version or on another processor: ``algorithm`` names all of it, and
digests of two algorithms are never compared.
"""

from __future__ import annotations

import hashlib
import platform
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

MODULUS = 1 << 128
_SEEDS = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
_HALF = 1 << 32


@lru_cache(1)
def algorithm() -> str:
    """What made the digests of this process."""
    import polars as pl

    return f"polars-{pl.__version__}-{platform.machine()}/1"


def digest(rows: pa.RecordBatch) -> int:
    """The digest of a record batch. Digests of parts are added up, mod ``MODULUS``."""
    import polars as pl

    total: pl.Series | None = None
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        hashed = _hashed(column, name)
        if hashed is not None:
            total = hashed if total is None else total + hashed
    if total is None:
        total = pl.zeros(rows.num_rows, pl.UInt64, eager=True)
    low, high = (total.hash(seed) for seed in _SEEDS)
    # Sums of 64 bits wrap; the low half's carry belongs to the high one, so it is summed in two parts.
    below = int((low & (_HALF - 1)).sum()) + (int((low // _HALF).sum()) << 32)
    return ((int(high.sum()) << 64) + below) % MODULUS


def comparable(one: pa.DataType, other: pa.DataType) -> bool:
    """Have equal values of these two types equal digests?"""
    plain, also = (_plain_type(_plain_type(kind, views=False), views=True) for kind in (one, other))
    return bool(plain == also)


def _hashed(column: pa.Array, name: str) -> pl.Series | None:
    """A column's values, hashed; a null counts as nothing. None where there are only nulls."""
    import polars as pl

    nulls = column.null_count
    if nulls == len(column):
        return None
    values = pl.Series(_plain(column))
    hashed = values.hash(_seed(name))
    return hashed.set(values.is_null(), 0) if nulls else hashed


@lru_cache(4096)
def _seed(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _plain(column: pa.Array) -> pa.Array:
    """The column in types that Polars hashes as they are: no dictionaries, views of text; other values as text."""
    import pyarrow as pa

    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    # Not in one step: pyarrow casts no dictionary to views.
    for views in (False, True):
        kind = _plain_type(column.type, views)
        if kind != column.type:
            column = column.cast(kind)
    if _hashable(column.type):
        return column
    return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())


@lru_cache(256)
def _plain_type(kind: pa.DataType, views: bool) -> pa.DataType:
    """Without dictionaries; with ``views`` of text and binary, which pyarrow makes faster than Polars does."""
    import pyarrow as pa
    from pyarrow import types as is_

    if is_.is_dictionary(kind):
        return _plain_type(kind.value_type, views)
    if views and (is_.is_string(kind) or is_.is_large_string(kind)):
        return pa.string_view()
    if views and (is_.is_binary(kind) or is_.is_large_binary(kind)):
        return pa.binary_view()
    if is_.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type, views)) for field in kind])
    if is_.is_list(kind) or is_.is_large_list(kind):
        inner = kind.value_field.with_type(_plain_type(kind.value_type, views))
        return pa.large_list(inner) if views or is_.is_large_list(kind) else pa.list_(inner)
    return kind


@lru_cache(256)
def _hashable(kind: pa.DataType) -> bool:
    from pyarrow import types as is_

    if is_.is_struct(kind):
        return all(_hashable(field.type) for field in kind)
    if is_.is_large_list(kind):
        return _hashable(kind.value_type)
    return bool(
        (is_.is_integer(kind) or is_.is_boolean(kind) or is_.is_float32(kind) or is_.is_float64(kind))
        or (is_.is_string_view(kind) or is_.is_binary_view(kind))
        or (is_.is_timestamp(kind) or is_.is_date32(kind) or is_.is_duration(kind) or is_.is_time64(kind))
        or is_.is_decimal128(kind)
    )
