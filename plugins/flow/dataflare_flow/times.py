"""The columns of event time: there, and of a type that tells a time, before anything starts.

A column that is missing or holds text would never move the watermark, and windows would wait for the end of input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from dataflare.declare import nearest
from dataflare.errors import Problem
from dataflare_flow.document import child
from dataflare_flow.flow import Flow
from dataflare_flow.resolve import Resolved
from dataflare_flow.schemas import Outputs
from dataflare_host.plan import MAIN

if TYPE_CHECKING:
    from dataflare.schema import Schema


def check_times(
    flow: Flow, resolved: Iterable[Resolved], found: Mapping[str, Outputs], note: Callable[[Problem], None]
) -> None:
    """Notes ``plan.unknown_column`` and ``plan.time_column`` for the columns that `time:` names.

    A source that lacks the column of the flow's own `time:` is left without event time, but one of them must have it.
    """
    shared: list[tuple[Schema, str]] = []
    for each in resolved:
        schema = found[each.step.name].schemas.get(MAIN) if each.step.kind == "source" else None
        if schema is None or schema.open:
            continue
        if column := each.step.time.get("column"):
            pointer = child(child(each.step.pointer, "time"), "column")
            note_time(schema, column, each.step.name, pointer, note)
        elif column := flow.time.get("column"):
            shared.append((schema, each.step.name))
    having = [(schema, name) for schema, name in shared if flow.time["column"] in schema]
    for schema, name in having or shared[:1]:
        note_time(schema, flow.time["column"], name, "/time/column", note)


def note_time(schema: Schema, column: str, source: str, pointer: str, note: Callable[[Problem], None]) -> None:
    """Notes what is wrong with a source's time column."""
    import pyarrow as pa

    if column not in schema:
        guess = nearest(column, schema.names)
        fix = f"write `{guess}`" if guess else f"its columns: {', '.join(schema.names)}"
        note(Problem("plan.unknown_column", f"`{source}` has no column `{column}`", pointer=pointer, fix=fix))
    elif not (pa.types.is_timestamp(schema.type(column)) or pa.types.is_date(schema.type(column))):
        note(
            Problem(
                "plan.time_column",
                f"`{column}` of `{source}` is not a time",
                pointer=pointer,
                cause=f"it is {schema.type(column)}",
                fix=f"name a timestamp column; a source can read text so: `schema: {{{column}: timestamp(utc), …}}`",
            )
        )
