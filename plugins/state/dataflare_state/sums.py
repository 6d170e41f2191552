"""Sums that find damage in rows.

They find what disks and copies do to a file, not what people do: against those there are layers.
"""

from __future__ import annotations

import json
from struct import pack
from typing import Any

from xxhash import xxh3_64_intdigest

MASK = 0xFF_FFFF_FFFF
"""40 bits: SQLite's integers have a sign."""


def of_key(key: bytes, value: bytes, expires: float | None) -> int:
    """The sum of a key's row."""
    content = key + value if expires is None else key + value + pack("<d", expires)
    return xxh3_64_intdigest(content, len(key)) & MASK


def of_row(*values: Any) -> int:
    """The sum of some columns of a row; bytes go last."""
    *told, last = values
    if isinstance(last, bytes):
        return xxh3_64_intdigest(last, of_row(*told, len(last))) & MASK
    return xxh3_64_intdigest(json.dumps(values, separators=(",", ":")).encode()) & MASK
