"""Honest plugins hold, in every isolation; the command says so."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare_host.cli import main
from dataflare_verify.subject import Subject, opened
from dataflare_verify.trying import outcomes

HONEST = Path(__file__).parent / "honest"


@pytest.fixture(scope="module")
def isolated() -> Iterator[Subject]:
    with opened(HONEST, "worker") as subject:
        yield subject


def test_an_honest_plugin_holds() -> None:
    with opened(HONEST, "inline") as subject:
        found = list(outcomes(subject))
    assert [(each.component, each.case, each.wrong) for each in found if not each.held] == []
    tried = {each.component for each in found}
    assert tried >= {"plugin", "source:numbers", "processor:totals", "sink:shelf", "tool:add"}


def test_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["plugin", "verify", str(HONEST), "--isolation", "inline", "--only", "tool:add/", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["ok"], told["failed"], told["runtime"], told["isolation"]) == (0, True, [], "python", "inline")
    assert told["cases"] >= 7


def test_the_command_fails_with_a_liar(capsys: pytest.CaptureFixture[str]) -> None:
    liars = str(HONEST.with_name("liars"))
    code = main(["plugin", "verify", liars, "--isolation", "inline", "--only", "tool:wrong-sum/", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (code, told["ok"]) == (1, False)
    assert [(each["component"], each["case"]) for each in told["failed"]] == [("tool:wrong-sum", "it-answers")]


def test_the_report_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    liars = str(HONEST.with_name("liars"))
    assert main(["plugin", "verify", liars, "--isolation", "inline", "--only", "tool:"]) == 1
    shown = capsys.readouterr().out
    assert "✗ tool:wrong-sum" in shown
    assert "it answers -1 instead of 5" in shown


@pytest.mark.parametrize(
    ("component", "cases"),
    [
        ("plugin", "plugin/"),
        ("source:numbers", "source:numbers/every-position"),
        ("source:received", "source:received/what-is-not-granted"),
        ("processor:totals", "processor:totals/"),
        ("processor:ledger", "processor:ledger/state-of"),
        ("processor:priced", "processor:priced/what-is-not-granted"),
        ("sink:shelf", "sink:shelf/a-commit-counts-once"),
        ("sink:shelf", "sink:shelf/a-flow-with-it-may-be-killed"),
        ("tool:add", "tool:add/"),
    ],
)
def test_the_same_holds_in_a_process_of_its_own(isolated: Subject, component: str, cases: str) -> None:
    found = list(outcomes(isolated, cases))
    assert {each.component for each in found} == {component}
    assert [(each.case, each.wrong) for each in found if not each.held] == []
    assert not all(each.left_out for each in found)


def test_a_process_that_keeps_something_is_seen() -> None:
    with opened(HONEST.with_name("liars"), "worker") as subject:
        (found,) = outcomes(subject, "processor:hoarder/its-memory")
    assert "it leaks" in found.wrong
