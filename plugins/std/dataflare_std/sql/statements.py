"""The SQL texts of the sink, made from names alone (SQLite's dialect; PostgreSQL's differs in the types only)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

SEQUENCE = "dataflare_seq"
STAGED_OP = "dataflare_op"

BOOKKEEPING = (
    "CREATE TABLE IF NOT EXISTS dataflare_epochs ("
    "incarnation TEXT NOT NULL, flow TEXT NOT NULL, sink TEXT NOT NULL, lane INTEGER NOT NULL, "
    "epoch INTEGER NOT NULL, fence INTEGER NOT NULL, PRIMARY KEY (incarnation, flow, sink, lane))",
    "CREATE TABLE IF NOT EXISTS dataflare_stages ("
    "name TEXT PRIMARY KEY, incarnation TEXT NOT NULL, flow TEXT NOT NULL, sink TEXT NOT NULL, lane INTEGER NOT NULL, "
    "epoch INTEGER NOT NULL, fence INTEGER NOT NULL, target TEXT NOT NULL)",
)
RAISE_FENCE = (
    "INSERT INTO dataflare_epochs (incarnation, flow, sink, lane, epoch, fence) VALUES (?, ?, ?, ?, 0, ?) "
    "ON CONFLICT (incarnation, flow, sink, lane) DO UPDATE SET fence = max(fence, excluded.fence)"
)
NOTE_EPOCH = (
    "INSERT INTO dataflare_epochs (incarnation, flow, sink, lane, epoch, fence) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (incarnation, flow, sink, lane) DO UPDATE SET epoch = excluded.epoch, fence = excluded.fence"
)
LANE = "SELECT epoch, fence FROM dataflare_epochs WHERE incarnation = ? AND flow = ? AND sink = ? AND lane = ?"
LANES_OF_EPOCH = (
    "SELECT name FROM dataflare_stages WHERE incarnation = ? AND flow = ? AND sink = ? AND epoch = ? AND fence = ?"
)
LAST_EPOCH = "SELECT max(epoch) FROM dataflare_epochs WHERE incarnation = ? AND flow = ? AND sink = ?"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def names(columns: Iterable[str], prefix: str = "") -> str:
    """Names with commas between them."""
    return ", ".join(prefix + quoted(column) for column in columns)


def create_table(table: str, columns: Mapping[str, str], key: Sequence[str]) -> str:
    """The table for these columns (name → type); key columns are never null."""
    parts = [f"{quoted(name)} {kind}{' NOT NULL' if name in key else ''}" for name, kind in columns.items()]
    if key:
        parts.append(f"PRIMARY KEY ({names(key)})")
    return f"CREATE TABLE {quoted(table)} ({', '.join(parts)})"


def create_stage(stage: str, columns: Mapping[str, str]) -> str:
    """A staging table: the columns in their order of arrival."""
    parts = [f"{quoted(name)} {kind}" for name, kind in columns.items()]
    return f"CREATE TABLE {quoted(stage)} ({', '.join([f'{SEQUENCE} INTEGER PRIMARY KEY', *parts])})"


def insert(table: str, columns: Sequence[str], key: Sequence[str] = ()) -> str:
    """One row into a table; with a key the row that is there is replaced."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {quoted(table)} ({names(columns)}) VALUES ({marks}){_on_conflict(columns, key)}"


def move(table: str, stage: str, columns: Sequence[str], key: Sequence[str], has_operations: bool) -> list[str]:
    """What brings a stage's rows into the table: with operations, the last one of each key counts."""
    if not has_operations:
        # `WHERE true` tells SQLite that ON is no join
        source = f"SELECT {names(columns)} FROM {quoted(stage)} WHERE true ORDER BY {SEQUENCE}"
        return [f"INSERT INTO {quoted(table)} ({names(columns)}) {source}{_on_conflict(columns, key)}"]
    last = f"{SEQUENCE} IN (SELECT max({SEQUENCE}) FROM {quoted(stage)} GROUP BY {names(key)})"
    deleted = f"SELECT {names(key)} FROM {quoted(stage)} WHERE {STAGED_OP} = 'delete' AND {last}"
    kept = f"SELECT {names(columns)} FROM {quoted(stage)} WHERE {STAGED_OP} <> 'delete' AND {last} ORDER BY {SEQUENCE}"
    return [
        f"DELETE FROM {quoted(table)} WHERE ({names(key)}) IN ({deleted})",
        f"INSERT INTO {quoted(table)} ({names(columns)}) {kept}{_on_conflict(columns, key)}",
    ]


def _on_conflict(columns: Sequence[str], key: Sequence[str]) -> str:
    if not key:
        return ""
    others = [column for column in columns if column not in key]
    change = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in others)
    return f" ON CONFLICT ({names(key)}) DO " + (f"UPDATE SET {change}" if others else "NOTHING")
