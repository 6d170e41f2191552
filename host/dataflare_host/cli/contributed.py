"""From a command component to what click runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from dataflare_host.cli.calling import call, split_config
from dataflare_host.cli.errors import FAILED
from dataflare_host.cli.output import json_option, show

if TYPE_CHECKING:
    from dataflare.component import Command, Component


def click_command(component: type[Command]) -> click.Command:
    """A contributed command as click has it: its own line, or one whose options are its input and its settings."""
    if component.line is not None:
        return cast(click.Command, component.line)
    made = click.Command(
        component.spec.name.rpartition(".")[2],
        params=_all_parameters(component),
        help=component.spec.doc,
        callback=lambda as_json, **given: _call(component, given, as_json),
    )
    return json_option(made)


def _all_parameters(component: type[Component]) -> list[click.Parameter]:
    from dataflare.fields import fields_of, input_fields_of

    if not fields_of(component) and not input_fields_of(component):
        return []  # told without pydantic, for commands that are to be fast
    from dataflare.config import input_schema, json_schema

    return [*_parameters(input_schema(component), arguments=True), *_parameters(json_schema(component))]


def _call(command: type[Command], given: dict[str, Any], as_json: bool) -> int:
    config, given = split_config(command, given)
    made = command(**config)
    answer = call(made, given)
    text = None if as_json else made.show(answer)
    if text is None:
        show(answer, as_json)
    elif text:
        click.echo(text)
    return FAILED if isinstance(answer, dict) and answer.get("ok") is False else 0


def _parameters(schema: Mapping[str, Any], *, arguments: bool = False) -> list[click.Parameter]:
    """Options of a JSON Schema's properties; lists and what is required are arguments where there may be some."""
    required = schema.get("required", ())
    made: list[click.Parameter] = []
    for name, given in schema.get("properties", {}).items():
        field = next((one for one in given.get("anyOf", ()) if one.get("type") != "null"), given)
        several = field.get("type") == "array"
        kind = _type(field.get("items", {}) if several else field)
        if arguments and (several or name in required):
            made.append(click.Argument([name], type=kind, nargs=-1 if several else 1, required=name in required))
            continue
        options: dict[str, Any] = {"multiple": several, "type": kind}
        if kind is bool:
            options = {"is_flag": True}
        made.append(
            click.Option(
                [f"--{name.rstrip('_').replace('_', '-')}", name],
                **options,
                required=name in required,
                default=given.get("default"),
                show_default=given.get("default") is not None,
                help=given.get("description"),
            )
        )
    return made


def _type(field: Mapping[str, Any]) -> Any:
    if "enum" in field:
        return click.Choice([str(word) for word in field["enum"]])
    return {"integer": int, "number": float, "boolean": bool}.get(str(field.get("type")), str)
