"""A whole flow in memory: planned by the host, run batch by batch in one thread, nothing written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from dataflare.batch import Batch
from dataflare.drive import MAIN, SourceDriver
from dataflare.errors import ConfigError
from dataflare.testing.bench import Bench, Rejection, Results
from dataflare.testing.reading import all_splits, in_order, read_split
from dataflare.testing.surroundings import context, driven


@dataclass
class FlowResult:
    """The rows that reached each sink, and the rows that each step refused."""

    sinks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejects: dict[str, list[Rejection]] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of all sinks, in the order of the sinks."""
        return [row for rows in self.sinks.values() for row in rows]


def run_flow(flow: Any, inputs: Mapping[str, Any] | None = None, *, host: Any = None) -> FlowResult:
    """Run a flow (a path, a mapping or a ``Flow``) to the end of its input, and give what reached the sinks.

    ``inputs`` replaces sources: name → rows. The sinks are planned, but never opened: their rows are collected. For
    what epochs, stores and modes do, run the flow itself. Raises ConfigError as planning does, and
    (``testing.no_host``) where the host is not installed.
    """
    with ExitStack() as stack:
        host = host or stack.enter_context(_host())
        plan = host.plan(flow)
        given = dict(inputs or {})
        sources = {name for name, step in plan.steps.items() if step.kind == "source"}
        if strange := sorted(set(given) - sources):
            raise ConfigError.of(
                "testing.inputs", f"the flow has no source `{strange[0]}`", cause=f"its sources are {sorted(sources)}"
            )
        return _Run(plan, host, stack).run(given)


class _Run:
    def __init__(self, plan: Any, host: Any, stack: ExitStack) -> None:
        self._plan = plan
        self._host = host
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dataflare-")))
        self._result = FlowResult()
        self._benches: dict[str, Bench] = {}
        for name, step in plan.steps.items():
            if step.kind == "sink":
                self._result.sinks[name] = []
            elif step.kind == "processor":
                self._benches[name] = stack.enter_context(self._bench(name))

    def run(self, inputs: Mapping[str, Any]) -> FlowResult:
        for name, step in self._plan.steps.items():
            if step.kind == "source":
                self._read(name, inputs)
        for name in self._downwards():
            self._pass_on(name, self._benches[name].finish())
            if rejects := self._benches[name].results.rejects:
                self._result.rejects[name] = rejects
        return self._result

    def _bench(self, name: str) -> Bench:
        from dataflare.schema import Schema

        schemas = {edge.input: edge.schema for edge in self._plan.inputs(name)}
        known = {key: Schema.from_json(schema) for key, schema in schemas.items() if schema is not None}
        ctx = self._context(name)
        return Bench(self._host.step(self._plan, name), ctx=ctx, schemas=known if len(known) == len(schemas) else None)

    def _context(self, name: str) -> Any:
        return context(
            self._folder / name,
            flow=self._plan.name,
            step=name,
            base=Path(self._plan.base),
            host=self._host,
            outputs=frozenset(edge.output for edge in self._plan.outgoing(name)),
        )

    def _read(self, name: str, inputs: Mapping[str, Any]) -> None:
        if name in inputs:
            self._feed(name, MAIN, Batch.of(inputs[name]))
            return
        with driven(self._host.step(self._plan, name), SourceDriver, self._context(name), {}) as driver:
            driver.plan()
            for split in in_order(all_splits(driver)):
                for reading in read_split(driver, split):
                    if reading.batch is not None:
                        self._feed(name, reading.stream or MAIN, reading.batch)

    def _feed(self, step: str, output: str, batch: Batch) -> None:
        for edge in self._plan.outgoing(step):
            if edge.output != output or not len(batch):
                continue
            if edge.target in self._result.sinks:
                self._result.sinks[edge.target] += batch.to_rows()
            else:
                self._pass_on(edge.target, self._benches[edge.target].feed(batch, edge.input))

    def _pass_on(self, step: str, made: Results) -> None:
        for output, batch in made.batches:
            self._feed(step, output, batch)

    def _downwards(self) -> list[str]:
        """The processors, each behind all those that feed it."""
        order: list[str] = []

        def visit(name: str) -> None:
            for edge in self._plan.inputs(name):
                if edge.source in self._benches:
                    visit(edge.source)
            if name not in order:
                order.append(name)

        for name in self._benches:
            visit(name)
        return order


def _host() -> Any:
    try:
        return import_module("dataflare_host").Host.start()
    except ModuleNotFoundError as error:
        raise ConfigError.of(
            "testing.no_host", "`run_flow` needs the host", cause=str(error), fix="pip install dataflare-host"
        ) from error
