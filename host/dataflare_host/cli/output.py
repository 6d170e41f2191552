"""What a command prints: one JSON document or text on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from textwrap import indent
from typing import Any, TypeVar

import click

from dataflare.errors import Problem
from dataflare.json_types import plain_json

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """The option ``--json`` that every command has."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(function)


def emit(document: Any) -> None:
    """One JSON document, on one line of stdout."""
    click.echo(json.dumps(plain_json(document), ensure_ascii=False))


def tell(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def styled(text: str, colour: str | None = None, *, bold: bool = False) -> str:
    """Text with a colour, which is left out where the output is no terminal."""
    return click.style(text, fg=colour, bold=bold or None)


def show_problems(problems: Iterable[Problem]) -> None:
    """Each problem with its place, cause and fix, on stderr."""
    for problem in problems:
        head, *rest = problem.render().splitlines()
        code, _, message = head.partition("  ")
        tell("\n".join([f"{click.style(code, fg='red', bold=True)}  {message}", *rest]))


def show(answer: Any, as_json: bool) -> None:
    """An answer on stdout, as JSON or for people."""
    if as_json:
        emit(answer)
    elif text := as_text(answer):
        click.echo(text)


def as_text(answer: Any) -> str:
    """A JSON answer for people: text as it is, objects as lines, lists of flat objects as a table."""
    if isinstance(answer, dict):
        lines = [f"{key}: {_cell(value)}" for key, value in answer.items() if _flat(value) and _cell(value)]
        parts = {key: as_text(value) for key, value in answer.items() if not _flat(value)}
        return "\n".join([*lines, *(f"{key}:\n{indent(text, '  ')}" for key, text in parts.items() if text)])
    if isinstance(answer, list) and answer and all(isinstance(item, dict) for item in answer):
        head = list(dict.fromkeys(key for item in answer for key in item))
        if all(_flat(value) for item in answer for value in item.values()):
            return table([[_cell(item.get(key)) for key in head] for item in answer], head)
        return "\n".join(f"- {indent(as_text(item), '  ').lstrip()}" for item in answer)
    if isinstance(answer, list):
        return "\n".join(_cell(item) for item in answer)
    return _cell(answer)


def _flat(value: Any) -> bool:
    if isinstance(value, dict):
        return not value
    return not isinstance(value, list) or (len(_cell(value)) < 40 and "{" not in _cell(value))


def _cell(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value):
        return ", ".join(_cell(item) for item in value)
    if value is None or value == {}:
        return ""
    return value if isinstance(value, str) else json.dumps(plain_json(value), ensure_ascii=False)


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Rows as aligned columns; the last column is never padded."""
    cells = [[str(cell) for cell in row] for row in ([head, *rows] if head else rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    if head and lines:
        lines[0] = click.style(lines[0], dim=True)
    return "\n".join(lines)
