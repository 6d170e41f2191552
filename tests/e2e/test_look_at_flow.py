"""`validate`, `check`, `plan` and `explain`: a flow looked at without running it."""

import json
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

WRONG = """\
version: 1
name: demo
sources:
  numbers: {uses: ./shop.py/numbrs}
steps:
  even: {uses: ./shop.py/even, from: nowhere}
sinks:
  out:
    uses: ./shop.py/save
    from: even
    with:
      path: 12
      pth: out.jsonl
"""


def test_a_good_flow_is_ok(say: Callable, shop: Path) -> None:
    told = say("validate", "flow.yaml", "--json")
    assert told.code == 0
    assert (told.json["ok"], told.json["flow"], told.json["errors"]) == (True, "demo", [])
    assert "ok" in say("validate", "flow.yaml").out
    assert not (shop / ".dataflare").exists()


def test_every_mistake_is_told_with_its_place(say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(WRONG)
    told = say("validate", "flow.yaml", "--json")
    assert told.code == 2
    assert told.json["ok"] is False
    errors = told.json["errors"]
    assert all({"code", "message", "file", "line", "column", "pointer", "fix"} <= set(error) for error in errors)
    lines = {error["line"] for error in errors}
    assert {4, 6, 13} <= lines
    assert "flow.unknown_component" in {error["code"] for error in errors}
    assert any("numbers" in (error["fix"] or "") for error in errors)
    people = say("validate", "flow.yaml")
    assert (people.code, people.out) == (2, "")
    assert "flow.yaml:4" in people.err


def test_a_file_that_is_not_there_is_exit_2(say: Callable, shop: Path) -> None:
    told = say("validate", "nosuch.yaml", "--json")
    assert told.code == 2
    assert told.json["errors"][0]["file"].endswith("nosuch.yaml")


def test_check_asks_the_components(say: Callable, shop: Path) -> None:
    assert say("check", "flow.yaml").code == 0
    (shop / "flow.yaml").write_text((shop / "flow.yaml").read_text().replace("path: out", "path: nowhere/out"))
    assert say("validate", "flow.yaml").code == 0
    told = say("check", "flow.yaml", "--json")
    assert told.code == 2
    (error,) = told.json["errors"]
    assert (error["code"], error["pointer"], error["fix"]) == ("shop.no_folder", "/sinks/out/with/path", "make it")
    assert error["line"] == 6


def test_warnings_are_told_and_forgiven(say: Callable, shop: Path) -> None:
    lonely = "  numbers: {uses: ./shop.py/numbers}\n  lonely: {uses: ./shop.py/numbers}\n"
    text = (shop / "flow.yaml").read_text().replace("  numbers: {uses: ./shop.py/numbers}\n", lonely)
    (shop / "flow.yaml").write_text(text)
    told = say("validate", "flow.yaml", "--json")
    assert told.code == 0
    assert "lonely" in told.json["warnings"][0]["message"]
    assert "lonely" in told.err


def test_the_plan_is_json_that_travels(say: Callable, shop: Path) -> None:
    from dataflare_host.plan import Plan

    told = say("plan", "flow.yaml", "--json")
    assert told.code == 0
    plan = Plan.from_json(told.json)
    assert plan.digest == plan.digested().digest
    say("plan", "flow.yaml", "--format", "json", "--out", "plan.json")
    assert json.loads((shop / "plan.json").read_text()) == told.json


def test_the_flow_is_drawn(say: Callable, shop: Path) -> None:
    text = say("plan", "flow.yaml")
    assert text.code == 0
    assert "numbers" in text.out
    assert "n: int64" in text.out or "n int64" in text.out
    assert "at_least_once" in text.out
    mermaid = say("plan", "flow.yaml", "--format", "mermaid").out
    assert mermaid.startswith(("flowchart", "graph"))
    assert say("plan", "flow.yaml", "--format", "svg", "--out", "flow.svg").out == ""
    assert xml.etree.ElementTree.parse(shop / "flow.svg").getroot().tag.endswith("svg")


def test_a_drawing_that_cannot_be_written_is_said(say: Callable, shop: Path) -> None:
    told = say("plan", "flow.yaml", "--json", "--out", "nowhere/plan.json")
    assert told.code == 2
    assert "cli.not_written" in told.err


def test_explain_says_how_and_why(say: Callable, shop: Path) -> None:
    told = say("explain", "flow.yaml", "--json")
    assert told.code == 0
    assert told.json["guarantee"]["effective"] == "at_least_once"
    assert told.json["guarantee"]["edges"]
    assert {"schemas", "chains", "splits"} <= set(told.json)
    people = say("explain", "flow.yaml")
    assert "at_least_once" in people.out


@pytest.mark.parametrize("command", ["plan", "explain", "check"])
def test_a_wrong_flow_is_exit_2_everywhere(say: Callable, shop: Path, command: str) -> None:
    (shop / "flow.yaml").write_text(WRONG)
    told = say(command, "flow.yaml", "--json")
    assert told.code == 2
    assert len(told.json["errors"]) >= 3
