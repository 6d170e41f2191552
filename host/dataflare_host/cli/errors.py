"""How an error leaves the command line: as text for people or one JSON document, with an exit code."""

from __future__ import annotations

import traceback

import click

from dataflare.errors import DataflareError, Problem
from dataflare_host.cli.output import emit, show_problems

WRONG = 2
FAILED = 1


def report(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Tell an error on stderr (as JSON on stdout) and give the exit code."""
    problems = problems_of(error, debug=debug)
    if as_json:
        first = problems[0].details if problems else {}
        emit({**first, "ok": False, "errors": [problem.as_json() for problem in problems]})
    elif isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    show_problems(problems)
    return exit_code(error)


def exit_code(error: Exception) -> int:
    """What the error's class says; 2 where the command line is wrong, else 1."""
    if isinstance(error, DataflareError):
        return error.exit_code
    return WRONG if isinstance(error, (click.UsageError, click.FileError)) else FAILED


def problems_of(error: Exception, *, debug: bool = False) -> tuple[Problem, ...]:
    """The problems an error stands for; a foreign one leaves its traceback in a file, or on stderr."""
    if isinstance(error, DataflareError) and error.problems:
        return error.problems
    if isinstance(error, click.ClickException):
        return (Problem("cli.usage", error.format_message(), fix=_see_help(error)),)
    if isinstance(error, click.Abort):
        return (Problem("cli.interrupted", "interrupted before it began", kind="fatal", fix="give the command again"),)
    place = "the traceback above" if debug else _written(error)
    if debug:
        traceback.print_exception(error)
    name, text = type(error).__name__, str(error).strip().splitlines()
    cause = f"{name}, which nobody expected: see {place}"
    fix = "if a plugin's code is named there, tell its author; else report it as a bug"
    return (Problem("internal.error", text[0] if text else name, kind="fatal", cause=cause, fix=fix),)


def _see_help(error: click.ClickException) -> str | None:
    ctx = getattr(error, "ctx", None)
    return f"see `{ctx.command_path} --help`" if ctx is not None else None


def _written(error: Exception) -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="dataflare-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
        return file.name
