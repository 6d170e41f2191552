"""The SQL texts of the sink that all databases understand, made from names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

SEQUENCE = "dataflare_seq"
STAGED_OP = "dataflare_op"

BOOKKEEPING = (
    "CREATE TABLE IF NOT EXISTS dataflare_epochs ("
    "incarnation TEXT NOT NULL, flow TEXT NOT NULL, sink TEXT NOT NULL, lane BIGINT NOT NULL, "
    "epoch BIGINT NOT NULL, fence BIGINT NOT NULL, PRIMARY KEY (incarnation, flow, sink, lane))",
    "CREATE TABLE IF NOT EXISTS dataflare_stages ("
    "name TEXT PRIMARY KEY, incarnation TEXT NOT NULL, flow TEXT NOT NULL, sink TEXT NOT NULL, lane BIGINT NOT NULL, "
    "epoch BIGINT NOT NULL, fence BIGINT NOT NULL, target TEXT NOT NULL)",
)
RAISE_FENCE = (
    "INSERT INTO dataflare_epochs (incarnation, flow, sink, lane, epoch, fence) VALUES (?, ?, ?, ?, 0, ?) "
    "ON CONFLICT (incarnation, flow, sink, lane) DO UPDATE SET fence = excluded.fence "
    "WHERE excluded.fence > dataflare_epochs.fence"
)
NOTE_EPOCH = (
    "INSERT INTO dataflare_epochs (incarnation, flow, sink, lane, epoch, fence) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (incarnation, flow, sink, lane) DO UPDATE SET epoch = excluded.epoch, fence = excluded.fence"
)
RAISE_LANES = "UPDATE dataflare_epochs SET fence = ? WHERE incarnation = ? AND flow = ? AND sink = ? AND fence < ?"
NEWEST_FENCE = "SELECT max(fence) FROM dataflare_epochs WHERE incarnation = ? AND flow = ? AND sink = ?"
SAME_FENCE = "UPDATE dataflare_epochs SET fence = ? WHERE incarnation = ? AND flow = ? AND sink = ? AND lane = ?"
LANE = "SELECT epoch, fence FROM dataflare_epochs WHERE incarnation = ? AND flow = ? AND sink = ? AND lane = ?"
LANES_OF_EPOCH = (
    "SELECT name FROM dataflare_stages WHERE incarnation = ? AND flow = ? AND sink = ? AND epoch = ? AND fence = ?"
)
STAGES_BESIDE = (
    "SELECT other.name FROM dataflare_stages AS mine JOIN dataflare_stages AS other "
    "USING (incarnation, flow, sink, epoch, fence) WHERE mine.name = ? AND other.name <> mine.name"
)
LAST_EPOCH = "SELECT max(epoch) FROM dataflare_epochs WHERE incarnation = ? AND flow = ? AND sink = ?"


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def table_name(table: str) -> str:
    """A table as SQL writes it; what stands before a dot is its schema."""
    return ".".join(quoted(part) for part in table.split(".", 1))


def names(columns: Iterable[str], prefix: str = "") -> str:
    """Names with commas between them."""
    return ", ".join(prefix + quoted(column) for column in columns)


def create_table(table: str, columns: Mapping[str, str], key: Sequence[str]) -> str:
    """The table (as SQL writes its name) for these columns (name → type); key columns are never null."""
    parts = [f"{quoted(name)} {kind}{' NOT NULL' if name in key else ''}" for name, kind in columns.items()]
    if key:
        parts.append(f"PRIMARY KEY ({names(key)})")
    return f"CREATE TABLE {table} ({', '.join(parts)})"


def create_stage(stage: str, sequence: str, columns: Mapping[str, str]) -> str:
    """A staging table: the columns in their order of arrival, which ``sequence`` (a type) counts."""
    parts = [f"{quoted(name)} {kind}" for name, kind in columns.items()]
    return f"CREATE TABLE {quoted(stage)} ({', '.join([f'{SEQUENCE} {sequence}', *parts])})"


def insert(table: str, columns: Sequence[str], key: Sequence[str] = ()) -> str:
    """One row into a table (as SQL writes its name); with a key the row that is there is replaced."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({names(columns)}) VALUES ({marks}){_on_conflict(columns, key)}"


def move(
    table: str, stage: str, columns: Mapping[str, str], key: Sequence[str], has_operations: bool, only: str = ""
) -> list[str]:
    """What brings a stage's rows into the table; of the rows of a key the last one counts.

    ``columns``: name → how its value is read from the stage. ``only``: a condition on the stage's rows.
    """
    values = ", ".join(columns.values())
    wanted = [only or "true"]  # without a condition SQLite takes ON for a join
    if key:
        wanted.append(f"{SEQUENCE} IN (SELECT max({SEQUENCE}) FROM {quoted(stage)} GROUP BY {names(key)})")
    kept = [*wanted, f"{STAGED_OP} <> 'delete'"] if has_operations else wanted
    rows = f"SELECT {values} FROM {quoted(stage)} WHERE {' AND '.join(kept)}"
    texts = [f"INSERT INTO {table} ({names(columns)}) {rows}{_on_conflict(tuple(columns), key)}"]
    if has_operations:
        keys = ", ".join(columns[name] for name in key)
        gone = [*wanted, f"{STAGED_OP} = 'delete'"]
        deleted = f"SELECT {keys} FROM {quoted(stage)} WHERE {' AND '.join(gone)}"
        texts.insert(0, f"DELETE FROM {table} WHERE ({names(key)}) IN ({deleted})")
    return texts


def _on_conflict(columns: Sequence[str], key: Sequence[str]) -> str:
    if not key:
        return ""
    others = [column for column in columns if column not in key]
    change = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in others)
    return f" ON CONFLICT ({names(key)}) DO " + (f"UPDATE SET {change}" if others else "NOTHING")
