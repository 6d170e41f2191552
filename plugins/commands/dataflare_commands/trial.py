"""``dataflare try``: run one component and see what it gives, without a flow."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from dataflare import Command, ConfigError, DataflareError, Failed
from dataflare import field as option
from dataflare.errors import problem_of
from dataflare_commands.tools import call_tool, values
from dataflare_host.cli.output import table, tell

if TYPE_CHECKING:
    from dataflare.batch import Batch, Rejected
    from dataflare.drive import Driver, ProcessorDriver, SinkDriver, SourceDriver
    from dataflare_host.registry import Entry

Json = Any
Kind = Literal["source", "processor", "sink", "tool"]
BYTES = 16 << 20


@dataclass
class Trial:
    """What a component gave: rows with the output they came from, and everything worth knowing beside them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    schema: dict[str, str] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def take(self, batch: Batch, output: str = "") -> None:
        """Add rows; those of a named output say so in the column ``_output``."""
        named = {"_output": output} if output not in ("", "out") else {}
        self.rows += [{**row, **named} for row in batch.to_rows()]
        self.schema |= {column.name: str(column.type) for column in batch.schema}

    def refuse(self, rejected: list[Rejected], batch: Batch) -> None:
        """Add the rows of ``batch`` that were rejected."""
        for entry in rejected:
            rows = [batch.slice(index, 1).to_rows()[0] for index in entry.rows.to_pylist()]
            self.rejected.append({"code": entry.code, "message": entry.message, "rows": rows})


class Try(Command, name="try"):
    """Run one component and show what it gives.

    COMPONENT is `shop.py/numbers`, `std/files`, …, with its configuration as KEY=VALUE. A source shows its first rows;
    a processor and a sink take JSON lines from stdin (a sink really writes); a tool is called. Rows are a table on a
    terminal and JSON lines in a pipe, so that one try can feed the next.
    """

    def call(
        self,
        host: Any,
        component: str,
        given: tuple[str, ...] = (),
        kind: Kind | None = option(default=None, help="Which one, where a name stands for several."),
        rows: int = option(default=10, ge=1, help="Rows to read from a source."),
        seconds: float = option(default=10.0, help="How long to read a source at most."),
        input: str = option(default="-", help="A file of JSON lines in place of stdin."),
    ) -> Json:
        """``{"component", "kind", "schema", "rows", "rejected"}`` and what is worth knowing beside; a tool's answer."""
        from dataflare.drive import ProcessorDriver, SinkDriver, SourceDriver

        entry = _entry(host, component, kind)
        if entry.kind == "tool":
            return call_tool(host, component, values(given))
        trial = Trial()
        with _open(host, entry, component, values(given)) as driver:
            if isinstance(driver, SourceDriver):
                _read(driver, trial, rows, seconds)
            elif isinstance(driver, ProcessorDriver):
                _process(driver, trial, _input(input))
            elif isinstance(driver, SinkDriver):
                _write(driver, trial, _input(input))
        told = {"component": entry.uses, "kind": entry.kind, "schema": trial.schema, "rows": trial.rows}
        return {**told, "rejected": trial.rejected, **trial.notes}

    def show(self, answer: Json) -> str | None:
        """The rows; all else goes to stderr."""
        return _shown(answer) if isinstance(answer, dict) and {"component", "schema", "rows"} <= set(answer) else None


def _entry(host: Any, component: str, kind: str | None) -> Entry:
    """The component of that name; of several kinds the first of those above."""
    errors = []
    for wanted in (kind,) if kind else get_args(Kind):
        try:
            return cast("Entry", host.table().find(wanted, component, Path.cwd()))
        except ConfigError as error:
            errors.append(error)
    if kind:
        raise errors[0]
    broken = [error for error in errors if error.code != "flow.unknown_component"]
    raise broken[0] if broken else errors[0]


@contextmanager
def _open(host: Any, entry: Entry, component: str, config: dict[str, Any]) -> Iterator[Driver]:
    from dataflare.context import Context
    from dataflare.drive import ProcessorDriver, driver_for
    from dataflare.grants import services
    from dataflare.memory import MemoryState, MemoryTimers
    from dataflare.split import Resume

    made = host.component(component, config, entry.kind, Path.cwd())
    around: dict[str, Any] = {"flow": "try", "base": Path.cwd()}
    granted = services(entry.name, host.grants(entry.plugin), host, **around)
    ctx = Context(step=entry.name, incarnation="try", fence=1, state=MemoryState(), **around, **granted)
    driver = driver_for(made, ctx)
    if isinstance(driver, ProcessorDriver) and driver.columns:
        ctx.timers = MemoryTimers(driver.columns)
    try:
        driver.open(Resume())
        yield driver
    except Exception as error:
        if isinstance(error, DataflareError):
            raise
        spot = traceback.extract_tb(error.__traceback__)[-1]
        raise Failed(problem_of(error, "step.failed", file=spot.filename, line=spot.lineno)) from error
    finally:
        driver.close()


def _read(driver: SourceDriver, trial: Trial, rows: int, seconds: float) -> None:
    from dataflare.drive import NO_POSITION
    from dataflare.split import Demand

    end = time.monotonic() + seconds
    demand = Demand(rows, BYTES, end)
    splits = trial.notes["splits"] = {}
    for found, _ in driver.splits(None, frozenset()):
        for split in found:
            splits[split.id] = split.start
            start = NO_POSITION if split.start is None else split.start
            steps = driver.read(split, start, demand, None)
            for step in steps:
                if step.batch is not None:
                    trial.take(step.batch.slice(0, rows - len(trial.rows)), step.stream)
                trial.rejected += [_refused(each) for each in step.refused]
                if step.position is not NO_POSITION:
                    splits[split.id] = step.position
                demand.rows, demand.until = rows - len(trial.rows), time.monotonic() + 0.1
                if len(trial.rows) >= rows or time.monotonic() > end:
                    steps.close()  # type: ignore[attr-defined]
                    return
                if step.idle:
                    time.sleep(min(step.after or 0.1, max(0.0, end - time.monotonic())))


def _refused(each: Any) -> dict[str, Any]:
    return {"code": each.code, "message": each.message, "place": each.place, "raw": each.raw.decode("utf-8", "replace")}


def _process(driver: ProcessorDriver, trial: Trial, batch: Batch) -> None:
    for done in (driver.process(batch), driver.finish()):
        for output, made in done.outputs:
            trial.take(made, output)
        trial.refuse(done.rejected, batch)


def _write(driver: SinkDriver, trial: Trial, batch: Batch) -> None:
    driver.begin(1)
    trial.refuse(driver.write(batch), batch)
    token = driver.prepare(1, True)
    driver.commit(1, [token])
    trial.notes["token"] = token
    trial.notes["written"] = len(batch) - sum(len(entry["rows"]) for entry in trial.rejected)


def _input(name: str) -> Batch:
    from dataflare.batch import Batch

    rows = []
    try:
        with nullcontext(sys.stdin) if name == "-" else open(name, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_row(line, name, number))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.of("cli.input", f"`{name}` cannot be read", cause=str(error)) from error
    if not rows:
        raise ConfigError.of("cli.input", "no rows were given", fix="pipe JSON lines in, or name a file with --input")
    return Batch.of(rows)


def _row(line: str, name: str, number: int) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError) as error:
        file = "stdin" if name == "-" else name
        raise ConfigError.of("cli.input", f"not a JSON object: {error}", file=file, line=number) from error


def _shown(answer: dict[str, Any]) -> str:
    rows = answer["rows"]
    if answer["schema"]:
        tell("schema    " + ", ".join(f"{name}: {kind}" for name, kind in answer["schema"].items()))
    for name, value in answer.items():
        if name not in ("component", "kind", "schema", "rows", "rejected"):
            tell(f"{name:<9} {json.dumps(value, ensure_ascii=False)}")
    for each in answer["rejected"]:
        tell(f"rejected  {json.dumps(each, ensure_ascii=False)}")
    if not sys.stdout.isatty():
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    head = list(dict.fromkeys(name for row in rows for name in row))
    return table([["" if row.get(name) is None else row[name] for name in head] for row in rows], head)
