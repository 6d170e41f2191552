"""Running a plan in this process: orders, ends and what is told of them. Modes here do as they are told."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflare.errors import DataflareError, Failed, Problem
from dataflare_host import control, run
from dataflare_host.kinds import Outcome
from dataflare_host.plan import Guarantee, Plan, StepPlan
from dataflare_host.run import outcome_json, place_of, run_plan

FLOW = "version: 1\nname: demo\nsources: {a: {uses: std/generate}}\nsinks: {b: {uses: std/count, from: a}}\n"


class ToldMode:
    """Runs until told to stop; notes what it was told. ``obeys``: the orders that end it."""

    def __init__(self, obeys: tuple[str, ...] = ("stop", "abort")) -> None:
        self.obeys = obeys
        self.told: list[str] = []
        self.running = threading.Event()
        self.ending = threading.Event()
        self.outcome = Outcome("stopped", epoch=4)

    def run(self, plan: Plan, host: Any) -> Outcome:
        self.running.set()
        assert self.ending.wait(30)
        return self.outcome

    def stop(self, drain: bool) -> None:
        self.command("drain" if drain else "stop", {})

    def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        if name == "status":
            return {"flow": "demo", "status": "running", "rows": {"read": 7}}
        self.told.append(name)
        if name in self.obeys:
            self.ending.set()
        return {"told": name}


class OneModeHost:
    """A host that has one mode."""

    def __init__(self, mode: Any) -> None:
        self.mode = mode

    def component(self, uses: str, config: Any, kind: str, base: Path | None = None) -> Any:
        assert (uses, kind) == ("told/told", "mode")
        return self.mode


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "flow.yaml").write_text(FLOW)
    return Plan(
        flow={}, steps={}, edges=(), guarantee=Guarantee(), name="demo", base=str(tmp_path), mode={"uses": "told/told"}
    )


def started(plan: Plan, mode: ToldMode) -> tuple[threading.Thread, list[Any]]:
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append(run_plan(plan, OneModeHost(mode)))  # type: ignore[arg-type]
        except DataflareError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert mode.running.wait(10)
    return thread, ended


def test_the_outcome_of_the_mode_is_the_outcome(plan: Plan) -> None:
    mode = ToldMode()
    mode.ending.set()
    mode.outcome = Outcome("finished", epoch=2, read=10)
    assert run_plan(plan, OneModeHost(mode)) == mode.outcome  # type: ignore[arg-type]


def test_commands_come_through_the_socket(plan: Plan) -> None:
    mode = ToldMode()
    thread, ended = started(plan, mode)
    with control.connected(Path(plan.base), plan.name) as line:
        assert line.ask("status", {})["rows"] == {"read": 7}
        assert line.ask("stop", {}) == {"told": "stop"}
        told = line.wait(10)
    thread.join(10)
    assert ended == [mode.outcome]
    assert (told["status"], told["epoch"]) == ("stopped", 4)
    assert control.flows_in(Path(plan.base)) == []


def test_a_flow_that_runs_is_not_run_twice(plan: Plan) -> None:
    mode = ToldMode()
    thread, _ = started(plan, mode)
    with pytest.raises(DataflareError) as caught:
        run_plan(plan, OneModeHost(ToldMode()))  # type: ignore[arg-type]
    assert caught.value.code == "run.already_running"
    mode.command("stop", {})
    thread.join(10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_at_a_barrier(plan: Plan, number: int) -> None:
    mode = ToldMode()
    before = signal.getsignal(number)
    sender = kill_when_running(mode, number)
    assert run_plan(plan, OneModeHost(mode)) == mode.outcome  # type: ignore[arg-type]
    sender.join()
    assert mode.told == ["stop"]
    assert signal.getsignal(number) is before


def test_the_second_signal_leaves_at_once(plan: Plan) -> None:
    mode = ToldMode(obeys=("abort",))
    sender = kill_when_running(mode, signal.SIGTERM, signal.SIGTERM)
    outcome = run_plan(plan, OneModeHost(mode))  # type: ignore[arg-type]
    sender.join()
    assert mode.told == ["stop", "abort"]
    assert outcome.status == "failed"
    assert outcome.problems[-1].code == "run.aborted"


def test_a_mode_that_never_ends_is_left_behind(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "GRACE", 0.1)
    mode = ToldMode(obeys=())
    hurried = replace(plan, options={"drain_timeout": 0.1})
    sender = kill_when_running(mode, signal.SIGTERM)
    outcome = run_plan(hurried, OneModeHost(mode))  # type: ignore[arg-type]
    sender.join()
    assert mode.told == ["stop", "abort"]
    assert (outcome.status, outcome.problems[-1].code) == ("failed", "run.aborted")
    mode.ending.set()


def test_an_order_that_comes_too_early_is_given_again(plan: Plan) -> None:
    class Slow(ToldMode):
        refused = 2

        def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
            if name == "stop" and self.refused:
                self.refused -= 1
                raise Failed.of("run.starting", "not yet")
            return super().command(name, args)

    mode = Slow()
    sender = kill_when_running(mode, signal.SIGTERM)
    assert run_plan(plan, OneModeHost(mode)).status == "stopped"  # type: ignore[arg-type]
    sender.join()
    assert mode.told == ["stop"]


def test_what_the_mode_raises_is_raised(plan: Plan) -> None:
    class Broken(ToldMode):
        def run(self, plan: Plan, host: Any) -> Outcome:
            raise Failed.of("state.locked", "no")

    with pytest.raises(Failed, match=r"state\.locked"):
        run_plan(plan, OneModeHost(Broken()))  # type: ignore[arg-type]
    assert control.flows_in(Path(plan.base)) == []


def test_progress_sees_the_status(plan: Plan) -> None:
    mode = ToldMode()
    seen: list[dict] = []

    def progress(status: dict) -> None:
        seen.append(status)
        mode.ending.set()

    run_plan(plan, OneModeHost(mode), progress)  # type: ignore[arg-type]
    assert seen[0]["rows"] == {"read": 7}


def test_the_json_of_an_outcome_has_what_scripts_read(plan: Plan) -> None:
    sink = StepPlan("out", "sink", "std/files", "std", "1", {"path": "out/hot.jsonl"})
    asked = replace(plan, steps={"out": sink}, state={"uses": "state/sqlite", "with": {"path": ".dataflare/demo.db"}})
    problem = Problem("sink.failed", "no", kind="fatal")
    told = outcome_json(asked, Outcome("failed", 3, 10, 8, 1, 1, 1.23456, problems=(problem,)))
    assert told["rows"] == {"read": 10, "written": 8, "rejected": 1, "dropped": 1}
    assert (told["flow"], told["status"], told["epoch"], told["seconds"]) == ("demo", "failed", 3, 1.235)
    assert told["guarantee"] == "exactly_once"
    assert told["results"] == [{"sink": "out", "uses": "std/files", "place": f"{plan.base}/out/hot.jsonl"}]
    assert told["state"] == f"{plan.base}/.dataflare/demo.db"
    assert told["problems"][0]["code"] == "sink.failed"


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"path": "/abs/x"}, "/abs/x"),
        ({"uri": "postgresql://me:hush@db/x", "table": "t"}, "postgresql://me:***@db/x (t)"),
        ({"dsn": "postgresql://me:hu@sh@db/x?password=hush&port=1"}, "postgresql://me:***@db/x?password=***&port=1"),
        ({"dsn": "host=db password = 'hush hush' dbname=x"}, "host=db password = *** dbname=x"),
        ({"url": "https://h/x"}, "https://h/x"),
        ({"rows": 1}, None),
    ],
)
def test_the_place_of_a_result_hides_passwords(plan: Plan, config: dict, place: str | None) -> None:
    assert place_of(plan, config) == place


def kill_when_running(mode: ToldMode, *numbers: int) -> threading.Thread:
    """Sends each signal to this process once the one before was followed."""

    def send() -> None:
        assert mode.running.wait(10)
        for count, number in enumerate(numbers):
            while len(mode.told) < count:
                mode.ending.wait(0.01)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread
