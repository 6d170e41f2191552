"""What a table is like, whatever the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from dataflare import Failed
from dataflare_std.sql.target import Table


@dataclass
class TableShape:
    """A table as it is now: columns with their types, lists of columns that hold no value twice, those never null.

    ``guarded``: something in it besides the key of an upsert could refuse a row.
    """

    columns: dict[str, str] = field(default_factory=dict)
    unique: list[tuple[str, ...]] = field(default_factory=list)
    guarded: bool = False
    required: frozenset[str] = frozenset()

    def is_unique(self, key: tuple[str, ...]) -> bool:
        """Whether two rows cannot have the same key."""
        return any(set(index) == set(key) for index in self.unique)


def key_index(table: Table) -> str:
    """The name of the index that an upsert makes where the table has none for its key."""
    return "dataflare_key_" + sha256("\0".join((table.name, *table.key)).encode()).hexdigest()[:16]


def key_not_unique(table: Table) -> Failed:
    """The refusal of an upsert into a table that holds a key twice."""
    return Failed.of(
        "sql.key_not_unique",
        f"rows of `{table.name}` share the same key {', '.join(table.key)}",
        pointer="/key",
        cause="`upsert` replaces the one row that has the key, so there must not be two",
        fix="remove the doubled rows, or name the columns that tell rows apart",
    )
