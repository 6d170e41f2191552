"""Schemas: Arrow fields, whether more columns may come, and how a schema grows."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


class Schema:
    """The columns of an edge, as an Arrow schema; ``open`` says that rows may bring further columns.

    Made from a ``pyarrow.Schema``, any object with ``__arrow_c_schema__``, or a mapping of column
    name to Arrow type or Python type (``Schema({"n": int})``).
    """

    __slots__ = ("arrow", "open")

    def __init__(self, columns: Any = (), *, open: bool = False) -> None:
        self.arrow: pa.Schema = _arrow_schema(columns)
        self.open = open

    @property
    def names(self) -> list[str]:
        """The column names in order."""
        return list(self.arrow.names)

    def type(self, name: str) -> pa.DataType:
        """The Arrow type of a column; KeyError if there is none."""
        return self.arrow.field(name).type

    def __contains__(self, name: object) -> bool:
        return name in self.arrow.names

    def __iter__(self) -> Iterator[pa.Field]:
        return iter(self.arrow)

    def __len__(self) -> int:
        return len(self.arrow)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.open == other.open and self.arrow.equals(other.arrow)

    def __hash__(self) -> int:
        return hash((self.open, tuple((f.name, str(f.type)) for f in self.arrow)))

    def __repr__(self) -> str:
        columns = ", ".join(f"{f.name}: {f.type}" for f in self.arrow)
        return f"Schema({columns}{', ...' if self.open else ''})"

    def __arrow_c_schema__(self) -> Any:
        return self.arrow.__arrow_c_schema__()

    def with_column(self, name: str, type: Any, *, nullable: bool = True) -> Schema:
        """The schema with this column replaced in its place or added at the end."""
        import pyarrow as pa

        column = pa.field(name, _arrow_type(type), nullable)
        index = self.arrow.get_field_index(name)
        changed = self.arrow.append(column) if index < 0 else self.arrow.set(index, column)
        return Schema(changed, open=self.open)

    def select(self, names: list[str]) -> Schema:
        """Only these columns, in this order; KeyError names the first that is missing."""
        import pyarrow as pa

        return Schema(pa.schema([self.arrow.field(name) for name in names]), open=False)

    def without(self, *names: str) -> Schema:
        """The schema without these columns."""
        import pyarrow as pa

        return Schema(pa.schema([f for f in self.arrow if f.name not in names]), open=self.open)

    def union(self, other: Schema) -> Schema:
        """The smallest schema that both fit: columns are added, types only widen.

        Raises ConfigError (``schema.conflict``) where two types have no common wider type.
        """
        import pyarrow as pa

        try:
            merged = pa.unify_schemas([self.arrow, other.arrow], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ConfigError.of("schema.conflict", f"two schemas do not fit together: {error}") from error
        return Schema(merged, open=self.open or other.open)

    def as_json(self) -> dict[str, Any]:
        """Readable columns, and the exact Arrow schema (IPC, base64) so that it can travel."""
        return {
            "columns": [
                {"name": f.name, "type": str(f.type), "nullable": f.nullable, **_metadata(f)} for f in self.arrow
            ],
            "open": self.open,
            "arrow": base64.b64encode(self.arrow.serialize().to_pybytes()).decode(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """The schema that ``as_json`` wrote; of a peer without Arrow, its ``columns`` alone."""
        import pyarrow as pa

        if "arrow" not in value:
            return cls(_by_names(value["columns"]), open=bool(value.get("open", False)))
        buffer = pa.py_buffer(base64.b64decode(value["arrow"]))
        return cls(pa.ipc.read_schema(buffer), open=bool(value.get("open", False)))


def _by_names(columns: Any) -> pa.Schema:
    import pyarrow as pa

    from dataflare.type_names import type_named

    return pa.schema(
        [
            pa.field(each["name"], type_named(each["type"]), each.get("nullable", True), each.get("metadata"))
            for each in columns
        ]
    )


def _metadata(column: pa.Field) -> dict[str, Any]:
    if not column.metadata:
        return {}
    return {"metadata": {key.decode(): value.decode("utf-8", "replace") for key, value in column.metadata.items()}}


def _arrow_schema(columns: Any) -> pa.Schema:
    import pyarrow as pa

    if isinstance(columns, pa.Schema):
        return columns
    if isinstance(columns, Schema):
        return columns.arrow
    if isinstance(columns, Mapping):
        return pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in columns.items()])
    if hasattr(columns, "__arrow_c_schema__"):
        return pa.schema(columns)
    return pa.schema(list(columns))


def _arrow_type(kind: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, pa.DataType):
        return kind
    from dataflare.types import arrow_type

    return arrow_type(kind)
