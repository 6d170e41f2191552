"""`dataflare try`: one component, no flow."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the next command its stdin."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_a_source_shows_its_first_rows(say: Callable, shop: Path) -> None:
    told = say("try", "shop.py/numbers", "--rows", "6", "count=100")
    assert told.code == 0
    assert [json.loads(line)["n"] for line in told.out.splitlines()] == [0, 1, 2, 3, 4, 5]
    assert "n: int64" in told.err


def test_json_is_one_document(say: Callable, shop: Path) -> None:
    told = say("try", "./shop.py/numbers", "count=3", "--json")
    assert len(told.out.splitlines()) == 1
    assert told.json["rows"] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert told.json["schema"] == {"n": "int64"}
    assert told.json["splits"] == {"all": 3}


def test_an_endless_source_is_left(say: Callable, shop: Path) -> None:
    assert len(say("try", "shop.py/endless", "--rows", "50").out.splitlines()) == 50


def test_a_processor_takes_lines_and_shows_what_it_rejects(say: Callable, shop: Path, pipe: Callable) -> None:
    pipe('{"n": 1}\n{"n": 2}\n')
    told = say("try", "shop.py/even", "--json")
    assert told.json["rows"] == [{"n": 2}]
    assert told.json["rejected"] == [{"code": "odd", "message": "`n` must be even", "rows": [{"n": 1}]}]


def test_lines_may_come_from_a_file(say: Callable, shop: Path) -> None:
    (shop / "in.jsonl").write_text('{"n": 4}\n\n')
    assert say("try", "shop.py/even", "--input", "in.jsonl").out == '{"n": 4}\n'


def test_a_sink_really_writes(say: Callable, shop: Path, pipe: Callable) -> None:
    pipe('{"n": 1}\n{"n": 2}\n')
    told = say("try", "shop.py/save", "path=out.jsonl", "--json")
    assert told.json["written"] == 2
    assert (shop / "out.jsonl").read_text() == '{"n": 1}\n{"n": 2}\n'


def test_a_tool_is_called(say: Callable, shop: Path) -> None:
    assert say("try", "shop.py/tax-of", "net=5", "--json").json == 1.0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["shop.py/numbrs"], "flow.unknown_component", "numbers"),
        (["shop.py/numbers", "count=many"], "config.type", "/count"),
        (["shop.py/numbers", "--kind", "sink"], "flow.unknown_component", "source"),
        (["nosuch.py/numbers"], "plugin.file_missing", "nosuch.py"),
        (["nosuch/numbers"], "flow.unknown_component", "nosuch"),
        (["shop.py/numbers", "count"], "cli.usage", "KEY=VALUE"),
    ],
)
def test_mistakes_are_named(say: Callable, shop: Path, words: list[str], code: str, said: str) -> None:
    told = say("try", *words, "--json")
    assert told.code == 2
    assert told.json["errors"][0]["code"] == code
    assert said in told.err


def test_input_that_is_not_rows_is_named_with_its_line(say: Callable, shop: Path, pipe: Callable) -> None:
    pipe('{"n": 1}\nnonsense\n')
    told = say("try", "shop.py/even", "--json")
    assert told.code == 2
    assert told.json["errors"][0]["line"] == 2
    pipe("")
    assert say("try", "shop.py/even", "--json").json["errors"][0]["code"] == "cli.input"


def test_a_component_that_breaks_says_where(say: Callable, shop: Path, pipe: Callable) -> None:
    pipe('{"n": 1}\n')
    told = say("try", "shop.py/broken", "--json")
    assert told.code == 1
    problem = told.json["errors"][0]
    assert (problem["code"], problem["message"]) == ("step.failed", "the shop burnt down")
    assert problem["file"] == str(shop / "shop.py")
    assert "the shop burnt down" in (shop / "shop.py").read_text().splitlines()[problem["line"] - 1]
