"""Drawings and explanations of a plan: readable, complete, well formed."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dataflare_commands import draw
from dataflare_commands.explain import chains, explain
from dataflare_host.app import Host
from dataflare_host.plan import Plan

SHOP = '''
import pyarrow as pa
from dataflare import Batch, Processor, Sink, Source, Split, processor, source
from dataflare.types import Columns

class Parts(Source[int]):
    """Three splits."""
    def plan(self):
        return pa.schema([pa.field("id", pa.int64()), pa.field("a<b & \\"c\\"", pa.string())])
    def splits(self):
        return [Split("one", size=10), Split("two"), Split("three", after=("one", "two"))]
    def read(self, split, position: int = 0):
        return
        yield

@source(replay="none")
def pushed():
    return
    yield

@processor
def same(batch: Batch) -> Batch:
    return batch

class Latest(Processor, by="key", outputs=("late",)):
    key: Columns
    def plan(self, schema):
        return schema
    def process(self, batch):
        return batch

class Table(Sink, ability="transactional", fencing="target"):
    def write(self, batch):
        pass

class Log(Sink):
    def write(self, batch):
        pass
'''
FLOW = """\
version: 1
name: drawn
sources:
  parts: {uses: ./shop.py/parts}
  pushed: {uses: ./shop.py/pushed}
steps:
  one: {uses: ./shop.py/same, from: parts}
  two: {uses: ./shop.py/same, from: one}
  wide: {uses: ./shop.py/same, from: two, lanes: 2}
  fork: {uses: ./shop.py/latest, from: wide, with: {key: id}}
  tail: {uses: ./shop.py/same, from: fork.late}
sinks:
  out: {uses: ./shop.py/table, from: [fork, tail], deliver: on_commit}
  log: {uses: ./shop.py/log, from: [pushed, two]}
"""


@pytest.fixture(scope="module")
def host():
    with Host.start() as started:
        yield started


@pytest.fixture(scope="module")
def plan(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder: Path = tmp_path_factory.mktemp("drawn")
    (folder / "shop.py").write_text(SHOP, "utf-8")
    (folder / "flow.yaml").write_text(FLOW, "utf-8")
    return host.plan(folder / "flow.yaml")


def test_stateless_steps_are_fused_where_they_are_the_only_reader(plan: Plan) -> None:
    # two is read twice, wide asks for lanes of its own, fork is keyed
    assert chains(plan) == [["parts", "one", "two"], ["fork", "tail"]]


def test_the_explanation_is_whole_and_json(plan: Plan, host: Host) -> None:
    told = json.loads(json.dumps(explain(plan, host)))
    assert told["guarantee"]["effective"] == plan.guarantee.effective == "best_effort"
    by_path = {(edge["source"], edge["sink"]): edge for edge in told["guarantee"]["edges"]}
    assert by_path[("parts", "out")]["effective"] == "exactly_once"
    assert by_path[("parts", "out")]["edges"] == ["fork.out->out", "tail.out->out"]
    assert by_path[("pushed", "log")]["effective"] == "best_effort"
    assert all(edge["reasons"] for edge in told["guarantee"]["edges"])
    assert told["schemas"]["parts"] == {"out": {"id": "int64", 'a<b & "c"': "string"}}
    assert told["schemas"]["pushed"] == {"out": None}
    assert told["schemas"]["out"]["in"] == told["schemas"]["parts"]["out"]
    assert told["schemas"]["log"] == {"in": None}
    assert told["chains"] == chains(plan)
    assert told["splits"]["parts"] == [
        {"id": "one", "size": 10, "after": []},
        {"id": "two", "size": None, "after": []},
        {"id": "three", "size": None, "after": ["one", "two"]},
    ]
    assert told["steps"]["fork"]["keyed"] == ["id"]


def test_the_text_fits_a_terminal_and_shows_everything(plan: Plan) -> None:
    text = draw.text(plan)
    assert all(len(line) <= 80 for line in text.splitlines())
    for word in (*plan.steps, "chain 1", "keyed by id", "2 lanes", "wide by key", "fork.late", "on commit", "int64"):
        assert word in text
    assert "guarantee: best_effort" in text
    assert "known at the first batch" in text
    boxes = [line for line in text.splitlines() if line.startswith(("┌", "└"))]
    assert [len(line) for line in boxes[::2]] == [len(line) for line in boxes[1::2]]


def test_mermaid_has_a_node_a_step_and_an_arrow_an_edge(plan: Plan) -> None:
    rows = draw.mermaid(plan).splitlines()
    assert rows[0] == "flowchart LR"
    assert sum("-->" in row for row in rows) == len(plan.edges)
    assert sum("subgraph" in row for row in rows) == 2
    assert sum(row.strip() == "end" for row in rows) == 2
    assert not any("a<b" in row for row in rows)
    assert any("best_effort" in row for row in rows)


def test_the_svg_is_well_formed_and_its_boxes_do_not_overlap(plan: Plan) -> None:
    root = ElementTree.fromstring(draw.svg(plan))
    space = "{http://www.w3.org/2000/svg}"
    words = [each.text or "" for each in root.iter(f"{space}text")]
    assert set(plan.steps) <= set(words)
    assert any('a<b & "c"' in word for word in words)
    assert any("best_effort" in word for word in words)
    boxes = [each for each in root.iter(f"{space}rect") if each.get("fill") != "none"]
    assert len(boxes) == len(plan.steps)
    sides = [tuple(float(each.get(key, "0")) for key in ("x", "y", "width", "height")) for each in boxes]
    for number, (x, y, width, height) in enumerate(sides):
        for x2, y2, width2, height2 in sides[number + 1 :]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
    _, _, width, height = (float(part) for part in root.get("viewBox", "").split())
    assert all(x + w <= width and y + h <= height for x, y, w, h in sides)
