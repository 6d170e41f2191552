"""``validate``, ``check``, ``plan`` and ``explain``: looking at a flow without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataflare.errors import ConfigError, Problem
from dataflare_host.cli.errors import WRONG
from dataflare_host.cli.output import emit, json_option, show, show_problems, show_warnings
from dataflare_host.cli.process import the_host

if TYPE_CHECKING:
    from dataflare_host.plan import Plan

FORMATS = ("text", "mermaid", "svg", "json")
flow_file = click.argument("flow", type=click.Path(path_type=Path))


@click.command(name="validate")
@flow_file
@json_option
def validate(flow: Path, as_json: bool) -> int:
    """Say everything that is wrong with a flow file: each mistake with its line, cause and fix.

    Exit code: 0 nothing is wrong, 2 something is.
    """
    return _verdict(flow, as_json)


@click.command(name="check")
@flow_file
@json_option
def check(flow: Path, as_json: bool) -> int:
    """Validate a flow, then ask each component whether it could work now: connections, rights, files.

    Exit code: 0 nothing is wrong, 2 something is.
    """
    return _verdict(flow, as_json, check=True)


@click.command(name="plan")
@flow_file
@click.option("--format", "style", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--json", "as_json", is_flag=True, help="The plan as one JSON document: as --format json.")
def plan(flow: Path, style: str, out: Path | None, as_json: bool) -> None:
    """Draw a flow: its steps, schemas, fused chains and guarantee."""
    made = the_host().plan(flow)
    if as_json or style == "json":
        import json

        text = json.dumps(made.as_json(), ensure_ascii=False, indent=None if out is None else 2)
    else:
        from dataflare_host import draw

        text = str(getattr(draw, style)(made))
    if out is None:
        click.echo(text)
        return
    try:
        out.write_text(f"{text}\n", "utf-8")
    except OSError as error:
        raise ConfigError.of("cli.not_written", f"`{out}` cannot be written", cause=str(error)) from error


@click.command(name="explain")
@flow_file
@json_option
def explain(flow: Path, as_json: bool) -> None:
    """Say how a flow will run: guarantee with reasons, schemas, fused chains, splits."""
    from dataflare_host.explain import explain as explained

    told = explained(the_host().plan(flow), the_host())
    show(told, as_json)


def _verdict(flow: Path, as_json: bool, check: bool = False) -> int:
    problems: tuple[Problem, ...] = ()
    plan: Plan | None = None
    try:
        plan = the_host().plan(flow, check=check)
    except ConfigError as error:
        problems = error.problems
    warnings = plan.options.get("warnings", []) if plan else []
    show_problems(problems)
    show_warnings(warnings)
    if as_json:
        verdict = {"ok": plan is not None, "flow": plan.name if plan else None, "file": str(flow)}
        emit({**verdict, "errors": [problem.as_json() for problem in problems], "warnings": warnings})
    elif plan is not None:
        click.echo(f"{flow}: ok, {len(plan.steps)} steps, {plan.guarantee.effective}")
    return 0 if plan is not None else WRONG
