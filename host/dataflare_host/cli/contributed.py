"""Commands that plugins add: known by the manifests, imported when used."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

from dataflare.errors import DataflareError
from dataflare_host.cli.output import emit, json_option, table

if TYPE_CHECKING:
    from dataflare_host.app import Host
    from dataflare_host.registry import Entry

PASSED = {"self", "host", "ctx"}


@cache
def the_host() -> Host:
    """The host of this process, started at first use."""
    from dataflare_host.app import Host

    return Host.start()


@cache
def _entries() -> Mapping[str, Entry]:
    try:
        return {entry.name: entry for entry in the_host().table().entries("command", loading=False)}
    except DataflareError:
        # A broken plugin set must not take the commands away that would say what is broken.
        return {}


def summaries(prefix: str) -> dict[str, str]:
    """The help lines of the commands ``prefix…``; without a prefix also those of the groups."""
    entries = _entries()
    found = {
        name.removeprefix(prefix): entry.summary
        for name, entry in entries.items()
        if name.startswith(prefix) and "." not in name.removeprefix(prefix)
    }
    if not prefix:
        for group in {name.partition(".")[0] for name in entries if "." in name}:
            found[group] = group_help(summaries(f"{group}."))
    return found


def group_help(members: Mapping[str, str]) -> str:
    """The help line of a group of contributed commands."""
    return f"Commands: {', '.join(sorted(members))}."


def command(name: str) -> click.Command | None:
    """The contributed command of this name (``group.name``), its options made from its parameters."""
    entry = _entries().get(name)
    if entry is None:
        return None
    component = entry.load()
    function: Callable[..., Any] = getattr(component, "operations", {}).get("call") or vars(component)["call"]
    hints = typing.get_type_hints(function)
    given = [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name not in PASSED]
    made = click.Command(
        name.rpartition(".")[2],
        params=[_parameter(parameter, hints.get(parameter.name, str)) for parameter in given],
        help=component.spec.doc,
        callback=_callback(component, function),
    )
    return json_option(made)


def _callback(component: Any, function: Callable[..., Any]) -> Callable[..., None]:
    def call(as_json: bool, **given: Any) -> None:
        passed = {"host": the_host()} if "host" in inspect.signature(function).parameters else {}
        method = function if "function" in vars(component) else component().call
        answer = method(**passed, **given)
        if as_json:
            emit(answer)
        elif (text := as_text(answer)) != "":
            click.echo(text)

    return call


def _parameter(parameter: inspect.Parameter, hint: Any) -> click.Parameter:
    hint = _without_none(hint)
    required = parameter.default is parameter.empty
    several = get_origin(hint) in (list, tuple, set, frozenset)
    kind = _click_type((get_args(hint) or (str,))[0] if several else hint)
    if required and parameter.kind is not parameter.KEYWORD_ONLY:
        return click.Argument([parameter.name], type=kind, nargs=-1 if several else 1)
    flag = f"--{parameter.name.replace('_', '-')}"
    default = None if required else parameter.default
    if hint is bool:
        return click.Option([flag], is_flag=True, default=bool(default))
    return click.Option([flag], type=kind, multiple=several, default=default, required=required, show_default=True)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        others = [other for other in get_args(hint) if other is not type(None)]
        return others[0] if len(others) == 1 else str
    return hint


def _click_type(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return click.Choice([str(word) for word in get_args(hint)])
    if hint is Path:
        return click.Path(path_type=Path)
    return hint if hint in (int, float, bool) else str


def as_text(answer: Any) -> str:
    """A JSON answer for people: text as it is, lists of objects as a table, an object as lines."""
    if answer is None or isinstance(answer, str):
        return answer or ""
    if isinstance(answer, list) and answer and all(isinstance(item, dict) for item in answer):
        head = list(dict.fromkeys(key for item in answer for key in item))
        return table([[_short(item.get(key)) for key in head] for item in answer], head)
    if isinstance(answer, dict):
        parts = []
        for key, value in answer.items():
            if isinstance(value, (list, dict)) and value:
                parts += [f"{key}:", indent(as_text(value), "  ")]
            else:
                parts.append(f"{key}: {_short(value)}")
        return "\n".join(parts)
    if isinstance(answer, list):
        return "\n".join(_short(item) for item in answer)
    return _short(answer)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
