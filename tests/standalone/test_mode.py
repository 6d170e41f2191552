"""The mode `standalone`: one process, and commands at any time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflare import Batch, ConfigError, Idle, Sink, Source, Split
from dataflare_flow import Flow
from dataflare_host import Host
from dataflare_host.kinds import Mode, Outcome

lanes: set[str] = set()
reading = threading.Barrier(3)
free = threading.Event()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    lanes.clear()
    reading.reset()
    free.clear()
    yield
    free.set()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.start() as started:
        yield started


class Slow(Source[int], rows={"n": int}):
    """Four splits of one number, each idle until it is free to end."""

    def splits(self) -> list[Split]:
        return [Split(f"s{n}") for n in range(4)]

    def read(self, split: Split, position: int = 0) -> Iterator[Any]:
        if not position:
            if threading.current_thread().name not in lanes:
                lanes.add(threading.current_thread().name)
                reading.wait(60)
            yield {"n": [1]}, 1
        while not free.is_set():
            yield Idle(after=0.005)


class Nowhere(Sink[None]):
    """Forgets."""

    def write(self, batch: Batch) -> None:
        pass


def flow(folder: Path) -> Flow:
    made = Flow("t", base=folder)
    made.checkpoint = {"interval": 0.05}
    made.source("slow", Slow).sink("nowhere", Nowhere)
    return made


def mode_of(host: Host, **config: Any) -> Mode:
    made = host.component("standalone/standalone", config, "mode")
    assert isinstance(made, Mode)
    return made


def test_it_runs_as_many_lanes_as_it_has_cores_and_takes_commands_at_any_time(tmp_path: Path, host: Host) -> None:
    mode, outcomes = mode_of(host, cores=2, memory="64MiB"), list[Outcome]()
    early: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: early.append(mode.command("status", {})))
    asking.start()
    running = threading.Thread(target=lambda: outcomes.append(mode.run(flow(tmp_path).plan(host), host)))
    running.start()
    asking.join(60)
    assert early[0]["flow"] == "t"
    reading.wait(60)  # both lanes have begun
    assert lanes == {"slow.0", "slow.1"}
    mode.stop(drain=False)
    running.join(60)
    assert outcomes[0].status == "stopped"
    assert mode.command("status", {})["status"] == "stopped"


def test_steps_that_belong_elsewhere_are_refused(tmp_path: Path, host: Host) -> None:
    plan = flow(tmp_path).plan(host)
    placed = replace(plan, steps={**plan.steps, "slow": replace(plan.steps["slow"], place={"zone": "north"})})
    (problem,) = mode_of(host).check(placed, host)
    assert (problem.code, problem.pointer) == ("plan.placement", "/sources/slow/place")


def test_who_waits_with_a_command_is_told_that_the_flow_could_not_start(tmp_path: Path, host: Host) -> None:
    mode, told = mode_of(host), list[str]()

    def ask() -> None:
        try:
            mode.command("status", {})
        except ConfigError as error:
            told.append(error.code)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(ConfigError):
        mode.run(replace(flow(tmp_path).plan(host), engine={"uses": "no/engine"}), host)
    asking.join(60)
    assert told == ["run.not_started"]
