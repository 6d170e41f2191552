"""Sensitivity tags of columns, carried beside the schema: data frames drop what stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dataflare.errors import Problem
from dataflare_flow.graph import step_of
from dataflare_flow.resolve import Resolved
from dataflare_flow.schemas import Note, Outputs
from dataflare_host.plan import MAIN

if TYPE_CHECKING:
    from dataflare.schema import Schema

TAGS = b"tags"
"""Arrow field metadata of a source: the column's sensitivity tags, with commas."""
Tags = dict[str, set[str]]


def tags_of(steps: Iterable[Resolved], found: Mapping[str, Outputs], note: Note) -> dict[tuple[str, str], Tags]:
    """(step, output) → column → tags. A sink that is not cleared for a tag is noted (``permission.tag``)."""
    tagged: dict[tuple[str, str], Tags] = {}
    for each in steps:
        name, outputs = each.step.name, found[each.step.name]
        if each.step.kind == "source":
            tagged |= {(name, output): _own_tags(schema) for output, schema in outputs.schemas.items()}
            continue
        coming: Tags = {}
        for _, reference in each.step.inputs:
            for column, tags in tagged.get((step_of(reference), reference.partition(".")[2] or MAIN), {}).items():
                coming.setdefault(column, set()).update(tags)
        if each.step.kind == "sink":
            _refuse_tags(each, coming, note)
        else:
            for output, schema in outputs.schemas.items():
                tagged[(name, output)] = _derived_tags(each, coming, schema)
    return tagged


def _own_tags(schema: Schema | None) -> Tags:
    found: Tags = {}
    for column in schema or ():
        words = (column.metadata or {}).get(TAGS, b"").decode().split(",")
        if tags := {word.strip() for word in words if word.strip()}:
            found[column.name] = tags
    return found


def _derived_tags(each: Resolved, coming: Tags, schema: Schema | None) -> Tags:
    reads, writes = each.ability("reads"), each.ability("writes")
    spread: set[str] = set().union(*(tags for column, tags in coming.items() if reads is None or column in reads))
    cleared = set(each.ability("clears", ()))
    columns = list(coming) if schema is None or schema.open else schema.names
    found: Tags = {}
    for column in columns:
        kept = writes is not None and column not in writes and column in coming
        tags = (coming.get(column, set()) if kept else coming.get(column, set()) | spread) - cleared
        if tags:
            found[column] = tags
    return found


def _refuse_tags(each: Resolved, coming: Tags, note: Note) -> None:
    cleared = set(each.ability("clears", ()))
    for column, tags in coming.items():
        for tag in sorted(tags - cleared):
            message = f"`{column}` is tagged `{tag}`, and `{each.step.name}` is not cleared for it"
            fix = f"mask or drop `{column}` before, or use a sink that is cleared for `{tag}`"
            note(Problem("permission.tag", message, pointer=each.step.pointer, fix=fix))
