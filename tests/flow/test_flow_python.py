"""Flows built in Python: the same names, the same plan; functions and classes in place of names."""

import os
import signal
from pathlib import Path

import pytest

from dataflare import Batch, Sink, processor, sink, source
from dataflare.errors import ConfigError
from dataflare_flow.flow import Flow
from dataflare_host.app import Host

SHOP = """
from dataflare import Batch, Sink, processor, source

@source
def numbers(position: int = 0, *, count: int = 10, every: int = 1):
    for n in range(position, count, every):
        yield {"n": [n]}, n + every

@processor
def same(batch: Batch) -> Batch:
    return batch

class Table(Sink, ability="transactional", fencing="target"):
    def write(self, batch):
        pass
"""
YAML = """\
version: 1
name: built
sources:
  numbers: {uses: ./shop.py/numbers, with: {count: 3}, lanes: 2, every: 1m}
steps:
  same: {uses: ./shop.py/same, from: numbers, on_error: {retry: {attempts: 2}, then: drop}}
  both: {uses: ./shop.py/same, from: [same, numbers]}
sinks:
  out: {uses: ./shop.py/table, from: both, guarantee: exactly_once}
state: state/memory
checkpoint: {interval: 2s, bytes: 1MiB}
drain_timeout: 1m
"""


@pytest.fixture(scope="module")
def host():
    with Host.start() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP, "utf-8")
    (tmp_path / "flow.yaml").write_text(YAML.replace("state/memory", "state/sqlite"), "utf-8")
    return tmp_path


def built(folder: Path) -> Flow:
    flow = Flow("built", folder, state="state/sqlite", checkpoint={"interval": 2, "bytes": 2**20}, drain_timeout=60)
    numbers = flow.source("numbers", "./shop.py/numbers", {"count": 3}, lanes=2, every="60s")
    same = numbers.step("same", "./shop.py/same", on_error={"retry": {"attempts": 2}, "then": "drop"})
    flow.step("both", "./shop.py/same", [same, "numbers"]).sink("out", "./shop.py/table", guarantee="exactly_once")
    return flow


def test_python_and_yaml_give_one_plan(host: Host, folder: Path) -> None:
    from_file = host.plan(folder / "flow.yaml")
    from_python = built(folder).plan(host)
    assert from_python == from_file
    assert from_python.digest == from_file.digest
    assert Flow.load(folder / "flow.yaml").plan(host).digest == from_file.digest


def test_configuration_stands_beside_the_words_of_a_step(folder: Path) -> None:
    flow = Flow("f", folder)
    flow.source("a", "./shop.py/numbers", {"every": 2}, count=5, every="1m")
    assert flow.steps["a"].config == {"count": 5, "every": 2}
    assert flow.steps["a"].every == 60.0


def test_a_mode_says_what_it_cannot_do_at_its_place(host: Host, folder: Path) -> None:
    path = folder / "flow.yaml"
    path.write_text(YAML.replace("from: [same, numbers]", "from: same, place: {zone: eu}"), "utf-8")
    with pytest.raises(ConfigError) as caught:
        host.plan(path)
    found = {(each.code, each.pointer, each.line) for each in caught.value.problems}
    assert found == {("plan.placement", "/steps/both/place", 7), ("plan.guarantee", "/sinks/out/guarantee", 9)}


def test_paths_and_variables_work_as_in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_TEST_COUNT", "7")
    flow = Flow("f", folder)
    flow.source("a", "x/a", path=Path("data") / "x", tags=("p", "q"), name="${env:FLOW_TEST_COUNT}")
    assert flow.steps["a"].config == {"path": "data/x", "tags": ["p", "q"], "name": "7"}


@pytest.mark.parametrize(
    ("add", "code"),
    [
        (lambda flow: flow.source("a", "x/a", lanes="many"), "flow.type"),
        (lambda flow: flow.source("a", "x/a", colour=object()), "flow.not_json"),
        (lambda flow: flow.source("a.b", "x/a"), "flow.name"),
        (lambda flow: (flow.source("a", "x/a"), flow.source("a", "x/a")), "flow.duplicate_name"),
        (lambda flow: flow.source("a", print), "flow.not_a_component"),
        (lambda flow: Flow("a/b"), "flow.name"),
        (lambda flow: Flow("a", guarantee="twice"), "flow.type"),
    ],
)
def test_a_wrong_word_is_refused_where_it_is_written(folder: Path, add, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        add(Flow("f", folder))
    assert caught.value.code == code


def test_what_is_wrong_with_the_whole_is_said_when_it_is_planned(host: Host, folder: Path) -> None:
    flow = Flow("f", folder)
    flow.source("a", "./shop.py/numbers", count="many")
    flow.step("b", "./shop.py/same", "c")
    with pytest.raises(ConfigError) as caught:
        flow.plan(host)
    found = {(each.code, each.pointer) for each in caught.value.problems}
    assert found == {
        ("config.type", "/sources/a/with/count"),
        ("flow.unknown_step", "/steps/b/from"),
        ("flow.no_sink", "/sinks"),
    }


@source
def letters(position: int = 0, *, text: str = "abc"):
    """Letters, one at a time."""
    for at in range(position, len(text)):
        yield {"letter": [text[at]]}, at + 1


class Nowhere(Sink, ability="transactional", fencing="target"):
    """Takes everything."""

    def write(self, batch: Batch) -> None:
        """Nothing."""


def shouting(mark: str):
    @processor
    def shout(batch: Batch) -> Batch:
        """Louder."""
        return batch.with_column("letter", [f"{value}{mark}" for value in batch["letter"].to_pylist()])

    return shout


def test_functions_classes_and_closures_are_components_of_this_process(host: Host, folder: Path) -> None:
    flow = Flow("f", folder)
    first = flow.source("letters", letters, text="xy").step("once", shouting("!"))
    first.step("twice", shouting("?")).sink("out", Nowhere)
    plan = flow.plan(host)
    assert plan.steps["letters"].config == {"text": "xy"}
    assert plan.steps["once"].uses != plan.steps["twice"].uses
    assert plan.options["not_shippable"] == ["letters", "once", "twice", "out"]
    assert plan.artifacts == {}
    batch = Batch.of([{"letter": "a"}])
    shouted = [type(host.step(plan, name)).operations["process"](batch).to_rows() for name in ("once", "twice")]
    assert shouted == [[{"letter": "a!"}], [{"letter": "a?"}]]
    assert host.plan(plan.flow, base=folder).digest == plan.digest


def test_the_kind_of_an_object_must_fit_its_place(host: Host, folder: Path) -> None:
    flow = Flow("f", folder)
    flow.source("a", Nowhere).sink("z", Nowhere)
    with pytest.raises(ConfigError) as caught:
        flow.plan(host)
    assert [(each.code, each.pointer) for each in caught.value.problems] == [
        ("flow.unknown_component", "/sources/a/uses")
    ]


def test_a_flow_runs_from_a_program_with_progress(host: Host, folder: Path) -> None:
    came: list[str] = []

    @sink
    def collect(batch: Batch) -> None:
        """Into a list."""
        came.extend(batch["letter"].to_pylist())

    flow = Flow("ran", folder, state="state/memory")
    flow.source("letters", letters, text="abcde").step("shout", shouting("!")).sink("out", collect)
    seen: list[dict] = []
    outcome = flow.run(progress=seen.append, host=host)
    assert outcome.status == "finished"
    assert (outcome.read, outcome.written) == (5, 5)
    assert sorted(came) == ["a!", "b!", "c!", "d!", "e!"]
    assert outcome.guarantee == "at_least_once"
    assert all(status["flow"] == "ran" for status in seen)


def test_an_interrupt_stops_a_flow_at_a_barrier(host: Host, folder: Path) -> None:
    @source
    def endless(position: int = 0):
        """Never ends."""
        while True:
            yield {"n": [position]}, position + 1
            position += 1

    def interrupt(status: dict) -> None:
        if status["rows"]["written"] and not sent:
            sent.append(status)
            os.kill(os.getpid(), signal.SIGINT)

    sent: list[dict] = []
    flow = Flow("endless", folder, checkpoint={"interval": "20ms"})
    flow.source("numbers", endless).sink("out", Nowhere)
    outcome = flow.run(progress=interrupt, host=host)
    assert sent
    assert outcome.status == "stopped"
    assert outcome.epoch > 0
