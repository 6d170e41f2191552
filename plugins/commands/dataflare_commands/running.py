"""``run``: a flow in this process, its progress, and what came of it."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from dataflare import Command
from dataflare.errors import ConfigError, DataflareError
from dataflare_commands.flows import show_warnings
from dataflare_commands.progress import Display, duration
from dataflare_host.cli.errors import FAILED, WRONG, exit_code, problems_of
from dataflare_host.cli.output import emit, json_option, show_problems, tell
from dataflare_host.cli.process import go_on_in, starting, the_host

if TYPE_CHECKING:
    from dataflare.errors import Problem
    from dataflare_host.kinds import Outcome
    from dataflare_host.plan import Plan

LEVELS = ("debug", "info", "warning", "error")


class _Line(click.Command):
    """With ``--json`` a wrong command line, too, is answered in the form of a run."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, *more, **extra)
        except click.UsageError as error:
            if not as_json:
                raise
            _tell_failure(None, error)
            raise click.exceptions.Exit(WRONG) from error


@click.command(name="run", cls=_Line)
@click.argument("flow", type=click.Path(path_type=Path))
@click.option("--mode", metavar="MODE", help="The mode to run in, in place of the flow's.")
@click.option("--guarantee", metavar="LEVEL", help="The guarantee to demand, in place of the flow's.")
@click.option("--from-start", is_flag=True, help="Forget the state and begin again.")
@click.option("--replace", "emptied", is_flag=True, help="With --from-start: empty the targets first.")
@click.option("--append", "kept", is_flag=True, help="With --from-start: add to what the targets hold.")
@click.option("--locked", is_flag=True, help="Use exactly what dataflare.lock says, or refuse.")
@click.option("--plan-only", is_flag=True, help="Print the plan as JSON and run nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
@click.option("--log-level", type=click.Choice(LEVELS), default="warning", show_default=True)
@json_option
def run(
    flow: Path,
    mode: str | None,
    guarantee: str | None,
    from_start: bool,
    emptied: bool,
    kept: bool,
    locked: bool,
    plan_only: bool,
    quiet: bool,
    log_level: str,
    as_json: bool,
) -> int:
    """Run a flow in this process until its input ends or it is stopped.

    The first SIGINT or SIGTERM stops it at a barrier, so that the same command goes on from there; a second one
    leaves at once. With --json the last line of stdout tells how it ended. Exit code: 0 finished or stopped, 1 failed,
    2 the flow or the command line is wrong.
    """
    _log_to_stderr(log_level)
    plan: Plan | None = None
    try:
        again = _existing(from_start, emptied, kept)
        if locked and (python := _interpreter(flow)) is not None:
            return go_on_in(python)
        with starting():
            plan = _planned(flow, locked, mode=mode, guarantee=guarantee)
        show_warnings(plan.options.get("warnings", ()))
        if plan_only:
            emit(plan.shown())
            return 0
        if from_start:
            plan = replace(plan, options={**plan.options, "from_start": again or True, "existing": again})
        before = set(threading.enumerate())
        outcome = _run(plan, quiet, lambda: _planned(flow, locked, mode=mode, guarantee=guarantee))
    except (Exception, KeyboardInterrupt) as error:
        if not as_json:
            raise
        told = error if isinstance(error, Exception) else click.Abort()
        _tell_failure(plan.name if plan else _name_in(flow), told)
        return exit_code(told)
    _tell_end(flow, plan, outcome, quiet=quiet, as_json=as_json)
    if outcome.status == "failed":
        _leave_if_stuck(before)
    return FAILED if outcome.status == "failed" else 0


class Run(Command, name="run"):
    """Run a flow until its input ends or it is stopped."""

    line = run


def _planned(flow: Path, locked: bool, **options: Any) -> Plan:
    host = the_host()
    if not locked:
        return host.plan(flow, **options)
    from dataflare_packages.holding import hold, hold_plan

    project = flow.absolute().parent
    hold(project, host)
    return hold_plan(host.plan(flow, **options), project)


def _interpreter(flow: Path) -> Path | None:
    """The interpreter that the lock of a flow means; None: this one. Raises ConfigError ``run.no_locks``, ``lock.…``"""
    try:
        from dataflare_packages.inline import interpreter_of
    except ModuleNotFoundError as error:
        message, fix = "nothing here knows locks", "install `dataflare-packages`, or leave out --locked"
        raise ConfigError.of("run.no_locks", message, fix=fix) from error
    return interpreter_of(flow.absolute().parent)


def _run(plan: Plan, quiet: bool, again: Callable[[], Plan]) -> Outcome:
    from dataflare_host.run import run_plan

    host = the_host()
    if quiet:
        return host.change("flow.run", plan.name, lambda: run_plan(plan, host, again=again))
    with Display() as display:
        return host.change("flow.run", plan.name, lambda: run_plan(plan, host, display, again))


def _existing(from_start: bool, emptied: bool, kept: bool) -> str | None:
    """What becomes of rows that the targets hold: ``replace``, ``append``, or None: they are refused."""
    if emptied and kept:
        raise click.UsageError("--replace and --append exclude each other: give one", click.get_current_context())
    again = "replace" if emptied else "append" if kept else None
    if again and not from_start:
        message = f"--{again} says what --from-start does with a target that is not empty: give both"
        raise click.UsageError(message, click.get_current_context())
    return again


def _name_in(flow: Path) -> str:
    """The name that a flow file gives its flow, as far as it can be read."""
    try:
        return the_host().planner().head(flow).name
    except DataflareError:
        return flow.stem


def _tell_failure(name: str | None, error: Exception) -> None:
    """The last line of ``run --json`` where there is no outcome."""
    problems = problems_of(error)
    rows = {"read": 0, "written": 0, "rejected": 0, "dropped": 0}
    answer = {"flow": name, "status": "failed", "guarantee": None, "epoch": 0, "rows": rows, "seconds": 0.0}
    told = [problem.as_json() for problem in problems]
    emit({**answer, "problems": told, "errors": told})
    show_problems(problems)


def _tell_end(flow: Path, plan: Plan, outcome: Outcome, *, quiet: bool, as_json: bool) -> None:
    from dataflare_host.run import outcome_json

    outcome = replace(outcome, problems=_placed(flow, plan, outcome.problems))
    show_problems(outcome.problems)
    document = outcome_json(plan, outcome)
    if not quiet:
        tell(summary(flow, document, outcome))  # stdout may be where a sink writes its rows
    if as_json:
        emit(document)


def _placed(flow: Path, plan: Plan, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The problems of a run, those of a step with the step's place in the flow file."""

    def place(problem: Problem) -> Problem:
        step = plan.steps.get(problem.details.get("step", ""))
        if step is None or problem.file is not None:
            return problem
        within = f"/with{problem.pointer}" if problem.pointer else ""
        return the_host().planner().placed(flow, problem.at(pointer=step.pointer + within))

    return tuple(place(problem) for problem in problems)


def summary(flow: Path, told: dict[str, Any], outcome: Outcome) -> str:
    """What came of a run, for people."""
    rows = told["rows"]
    rate = f" ({rows['read'] / outcome.seconds:,.0f} rows/s)" if outcome.seconds > 0 and rows["read"] else ""
    lines = [f"{click.style(outcome.status, bold=True)}  {told['flow']}  in {duration(outcome.seconds)}"]
    if outcome.nothing_new:
        lines.append("  nothing new: all input was read before (--from-start begins again)")
    lines += [f"  read       {rows['read']:,} rows{rate}", f"  written    {rows['written']:,} rows"]
    if rows["rejected"]:
        lines.append(f"  rejected   {rows['rejected']:,} rows: {_rejects(outcome)}")
        lines.append(f"             see `dataflare dlq list {flow}`")
    if rows["dropped"]:
        lines.append(f"  dropped    {rows['dropped']:,} rows")
    lines.append(f"  guarantee  {told['guarantee']}, epoch {told['epoch']}")
    lines += [f"  result     {item['sink']}: {item['place']}" for item in told["results"] if item["place"]]
    lines.append(f"  state      {told['state']}")
    return "\n".join(lines)


def _rejects(outcome: Outcome) -> str:
    parts = []
    for step, counts in outcome.steps.items():
        codes = outcome.rejects.get(step) or ({"": counts["rejected"]} if counts.get("rejected") else {})
        parts += [f"{count:,} by {step}" + (f" ({code})" if code else "") for code, count in codes.items()]
    return ", ".join(parts)


def _leave_if_stuck(before: set[threading.Thread]) -> None:
    """What an aborted run began and did not end must not keep the process; threads that were there ``before`` may."""
    if any(not thread.daemon for thread in set(threading.enumerate()) - before):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FAILED)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is now, so that the live progress line stays whole."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _log_to_stderr(level: str) -> None:
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
