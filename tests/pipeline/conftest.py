"""Flows built from components of the test, run by the real engine in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflare.store import Store
from dataflare_flow import Flow
from dataflare_host import Host
from dataflare_host.kinds import Budget, Engine, Outcome, Runner
from dataflare_host.layout import layout_of
from dataflare_host.plan import Plan


class Run:
    """A flow running in a thread of its own, with the runner at hand for commands."""

    def __init__(self, host: Host, plan: Plan, budget: Budget) -> None:
        engine = host.component(plan.engine["uses"], plan.engine.get("with", {}), "engine")
        assert isinstance(engine, Engine)
        (part,) = layout_of(plan, {}).cut(plan, 1)
        self.runner: Runner = engine.runner(part, host, None, budget)
        self.outcome: Outcome | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> Run:
        self._thread.start()
        return self

    def _run(self) -> None:
        self.outcome = self.runner.run()

    def end(self) -> Outcome:
        self._thread.join(60)
        assert self.outcome is not None, "the flow did not end"
        return self.outcome


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    with Host.start() as started:
        yield started


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    made = Flow("t", base=tmp_path)
    made.checkpoint = {"interval": 0.05}
    return made


@pytest.fixture
def start(host: Host) -> Callable[..., Run]:
    def begin(flow: Flow, budget: Budget | None = None, **options: Any) -> Run:
        plan = flow.plan(host)
        return Run(host, replace(plan, options={**plan.options, **options}), budget or Budget()).start()

    return begin


@pytest.fixture
def run(start: Callable[..., Run]) -> Callable[..., Outcome]:
    return lambda flow, **options: start(flow, **options).end()


@pytest.fixture
def store(host: Host) -> Callable[[Flow], Store]:
    """The store of a flow, opened."""

    def opened(flow: Flow) -> Store:
        from dataflare.context import Context

        plan = flow.plan(host)
        made = host.component(plan.state["uses"], plan.state.get("with", {}), "store")
        assert isinstance(made, Store)
        made.open(ctx=Context(flow=plan.name, base=Path(plan.base)))
        return made

    return opened
