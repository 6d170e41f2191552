"""Flow files: the printed flow works as it stands, and every mistake is reported at once with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, Problem
from dataflare_flow.document import parse_document, read_document
from dataflare_flow.flow import Flow
from dataflare_flow.vocabulary import flow_schema
from dataflare_host.cli import main

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*/flow.yaml"))

PRINTED = """\
version: 1
name: hot-readings
mode: standalone                   # a component like any other
plugins: {std: ">=1"}
sources:
  readings: {uses: std/files, with: {path: data/readings.jsonl, format: jsonl}}
steps:
  hot:        {uses: std/filter,  from: readings, with: {where: "temperature > 20"}}
  fahrenheit: {uses: std/compute, from: hot,      with: {columns: {fahrenheit: "temperature * 9 / 5 + 32"}}}
sinks:
  out: {uses: std/files, from: fahrenheit, with: {path: out/hot.jsonl, format: jsonl}, on_error: dead_letter}
state: {uses: state/sqlite, with: {path: .dataflare/state.db}}
checkpoint: {interval: 1s}
guarantee: exactly_once
"""
SMALL = {"sources": {"a": {"uses": "x/a"}}, "sinks": {"z": {"uses": "x/z", "from": "a"}}}


def loaded(folder: Path, text: str) -> Flow:
    path = folder / "flow.yaml"
    path.write_text(text, "utf-8")
    return Flow.load(path)


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return list(caught.value.problems)


def one(folder: Path, text: str) -> Problem:
    (found,) = problems(folder, text)
    return found


def with_steps(steps: str) -> str:
    return f"version: 1\nsources:\n  a: {{uses: x/a}}\nsteps:\n{steps}sinks:\n  z: {{uses: x/z, from: a}}\n"


def test_the_printed_flow_is_read(tmp_path: Path) -> None:
    flow = loaded(tmp_path, PRINTED)
    assert flow.name == "hot-readings"
    assert flow.base == tmp_path
    assert flow.mode == {"uses": "standalone"}
    assert flow.state == {"uses": "state/sqlite", "with": {"path": ".dataflare/state.db"}}
    assert flow.checkpoint == {"interval": 1.0}
    assert list(flow.steps) == ["readings", "hot", "fahrenheit", "out"]
    assert flow.steps["hot"].inputs == (("", "readings"),)
    assert flow.steps["out"].on_error["policy"] == "dead_letter"


def test_a_flow_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    flow = loaded(tmp_path, PRINTED)
    again = Flow.from_mapping(flow.to_mapping(), base=tmp_path)
    assert again.to_mapping() == flow.to_mapping()
    assert again.steps == flow.steps


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    text = """\
version: 2
name: a/b
sources:
  a: {uses: x/y, from: b, lanes: zero}
  b: 5
  dup: {uses: x/y}
steps:
  c: {use: x/y, from: [d, nope]}
  d: {uses: x/y, from: c}
  e: {uses: x/y, from: s}
  dup: {uses: x/y, from: a}
sinks:
  s: {uses: x/y, from: e, guarantee: exactlyonce}
checkpoint: {interval: soon}
stat: 5
"""
    found = {(each.code, each.pointer, each.line, each.column) for each in problems(tmp_path, text)}
    assert found == {
        ("flow.version", "/version", 1, 10),
        ("flow.name", "/name", 2, 7),
        ("flow.source_from", "/sources/a/from", 4, 18),
        ("flow.type", "/sources/a/lanes", 4, 34),
        ("flow.type", "/sources/b", 5, 6),
        ("flow.unknown_key", "/steps/c/use", 8, 7),
        ("flow.missing_key", "/steps/c", 8, 3),
        ("flow.unknown_step", "/steps/c/from", 8, 17),
        ("flow.cycle", "/steps/c/from", 8, 17),
        ("flow.from_sink", "/steps/e/from", 10, 24),
        ("flow.duplicate_name", "/steps/dup", 11, 3),
        ("flow.type", "/sinks/s/guarantee", 13, 38),
        ("flow.type", "/checkpoint/interval", 14, 24),
        ("flow.unknown_key", "/stat", 15, 1),
    }
    assert all(each.file == str(tmp_path / "flow.yaml") for each in problems(tmp_path, text))


@pytest.mark.parametrize(
    ("steps", "code", "fix"),
    [
        ("  b: {uses: x/b, from: qux}\n", "flow.unknown_step", "use one of a"),
        ("  bee: {uses: x/b, from: a}\n  c: {uses: x/c, from: be}\n", "flow.unknown_step", "write `from: bee`"),
        ("  b: {uses: x/b, from: a, form: c}\n", "flow.unknown_key", "write `from`"),
        ("  b: {uses: x/b, from: [a, a]}\n", "flow.from_twice", "name it once"),
        ("  b: {uses: x/b, from: a, every: 1s}\n", "flow.unknown_key", "remove it"),
        ("  b.c: {uses: x/b, from: a}\n", "flow.name", None),
        ("  b: {uses: 5, from: a}\n", "flow.type", "write text"),
        ("  b: {uses: x/b, from: a, with: [1]}\n", "flow.type", None),
        ("  b: {uses: x/b, from: a, on_error: dead-letter}\n", "flow.type", "write `dead_letter`"),
        ("  b: {uses: x/b, from: a, on_error: {retry: {attempts: 0}}}\n", "flow.type", None),
        ("  b: {uses: x/b, from: a, place: {zone: [1]}}\n", "flow.type", "write text"),
    ],
)
def test_a_mistake_in_a_step_has_its_code_and_fix(tmp_path: Path, steps: str, code: str, fix: str | None) -> None:
    found = one(tmp_path, with_steps(steps))
    assert found.code == code
    assert found.line == len(with_steps(steps).split("sinks:")[0].splitlines())
    if fix is not None:
        assert found.fix == fix


def test_a_cycle_is_named_from_its_first_step(tmp_path: Path) -> None:
    steps = "  b: {uses: x/b, from: [a, d]}\n  c: {uses: x/c, from: b}\n"
    steps += "  d: {uses: x/d, from: c}\n  e: {uses: x/e, from: e}\n"
    first, second = problems(tmp_path, with_steps(steps))
    assert first.details["cycle"] == ["b", "c", "d"]
    assert "b → c → d → b" in first.message
    assert second.details["cycle"] == ["e"]


def test_a_flow_needs_a_beginning_and_an_end(tmp_path: Path) -> None:
    assert {each.code for each in problems(tmp_path, "version: 1\nname: a\n")} == {"flow.no_source", "flow.no_sink"}


def test_problems_of_the_yaml_come_with_the_others(tmp_path: Path) -> None:
    text = with_steps("  b: {uses: x/b, uses: x/c, from: nope}\n")
    assert [each.code for each in problems(tmp_path, text)] == ["flow.duplicate_key", "flow.unknown_step"]


def test_on_error_has_one_normal_form() -> None:
    def read(given):
        steps = {"b": {"uses": "x/b", "from": "a", "on_error": given}}
        return Flow.from_mapping({**SMALL, "steps": steps}).steps["b"].on_error

    defaults = {"attempts": 5, "delay": 0.2, "factor": 2.0, "cap": 30.0}
    assert read("drop") == {"policy": "drop", "then": "drop", **defaults}
    assert read("retry") == {"policy": "retry", "then": "fail", **defaults}
    full = {"retry": {"attempts": 7, "delay": "50ms", "factor": 3, "cap": "1m"}, "then": "dead_letter"}
    expected = {"policy": "retry", "attempts": 7, "delay": 0.05, "factor": 3.0, "cap": 60.0, "then": "dead_letter"}
    assert read(full) == expected
    assert read(expected) == expected


def test_from_takes_steps_outputs_lists_and_named_inputs() -> None:
    def read(given):
        steps = {"b": {"uses": "x/b", "from": "a"}, "c": {"uses": "x/c", "from": given}}
        flow = Flow.from_mapping({**SMALL, "steps": steps})
        assert Flow.from_mapping(flow.to_mapping()).steps == flow.steps
        return flow.steps["c"].inputs

    assert read("a.late") == (("", "a.late"),)
    assert read(["a", "b"]) == (("", "a"), ("", "b"))
    assert read({"left": "a", "right": ["b", "b.late"]}) == (("left", "a"), ("right", "b"), ("right", "b.late"))


def test_only_env_and_secret_are_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_TEST_DIR", "data")
    monkeypatch.delenv("FLOW_TEST_NONE", raising=False)

    def read(value):
        sources = {"a": {"uses": "x/a", "with": {"v": value}}}
        return Flow.from_mapping({**SMALL, "sources": sources})

    def refused(value) -> str:
        with pytest.raises(ConfigError) as caught:
            read(value)
        return caught.value.code

    assert read("${env:FLOW_TEST_DIR}/x").steps["a"].config == {"v": "data/x"}
    assert read("${secret:TOKEN}").steps["a"].config == {"v": "${secret:TOKEN}"}
    assert read(["$${x} costs $5"]).steps["a"].config == {"v": ["${x} costs $5"]}
    assert refused("${env:FLOW_TEST_NONE}") == "flow.env_unset"
    assert refused("${HOME}") == "flow.substitution"
    assert refused("postgres://u:${secret:PW}@h") == "flow.secret_part"
    with pytest.raises(ConfigError) as caught:
        Flow.from_mapping({**SMALL, "name": "${secret:NAME}"})
    assert "flow.secret_place" in {each.code for each in caught.value.problems}


def test_text_with_dollars_survives_writing_and_reading() -> None:
    values = ["$${x}", "$$${x}", "${open", "$ {x}", "$${a $${b}", "${secret:S}", "$${secret:S} and $${x}"]
    flow = Flow.from_mapping({**SMALL, "sources": {"a": {"uses": "x/a", "with": {"v": values}}}})
    read = flow.steps["a"].config["v"]
    assert read == ["${x}", "$${x}", "${open", "$ {x}", "${a $${b}", "${secret:S}", "${secret:S} and ${x}"]
    assert Flow.from_mapping(flow.to_mapping()).steps["a"].config["v"] == read


def test_the_name_is_that_of_the_file_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / "my flow.yaml"
    path.write_text("version: 1\nsources: {a: {uses: x/a}}\nsinks: {z: {uses: x/z, from: a}}\n", "utf-8")
    assert Flow.load(path).name == "my-flow"


some_words = st.sampled_from(["out", "hot", "fail", "1s", "${env:X"]) | st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | some_words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def attempted(mapping: dict) -> tuple[Flow | None, list[Problem]]:
    try:
        return Flow.from_mapping(mapping), []
    except ConfigError as error:
        return None, list(error.problems)


@given(json_values, st.data())
def test_any_value_anywhere_gives_a_flow_or_problems(value, data) -> None:
    mapping = parse_document(PRINTED.encode(), "flow.yaml").value
    inside = mapping
    while True:
        key = data.draw(st.sampled_from(sorted(inside)))
        if not isinstance(inside[key], dict) or not inside[key] or data.draw(st.booleans()):
            break
        inside = inside[key]
    inside[key] = value
    flow, found = attempted(mapping)
    assert all(each.code.startswith("flow.") and each.pointer is not None for each in found)
    if flow is not None:
        assert Flow.from_mapping(flow.to_mapping()).to_mapping() == flow.to_mapping()


def test_the_schema_for_editors_knows_every_word() -> None:
    schema = flow_schema()
    step = schema["properties"]["steps"]["additionalProperties"]
    assert set(step["properties"]) == {"uses", "with", "from", "lanes", "place", "on_error", "max_rejects", "grants"}
    assert step["additionalProperties"] is False
    assert schema["properties"]["sinks"]["additionalProperties"]["required"] == ["uses", "from"]
    assert schema["properties"]["version"] == {"const": 1}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_schema_for_editors_takes_every_example(path: Path) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(flow_schema())
    given = read_document(path).value
    assert list(validator.iter_errors(given)) == []
    for wrong in ({**given, "sinc": {}}, {**given, "version": 2}, {**given, "sources": {"a b": {}}}):
        assert not validator.is_valid(wrong)


def test_the_schema_for_editors_is_printed_and_written(tmp_path: Path, capsys: Any) -> None:
    assert main(["flow", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == flow_schema()
    written = tmp_path / "flow.schema.json"
    assert main(["flow", "schema", "--out", str(written)]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(written.read_text()) == flow_schema()
    assert main(["flow", "schema", "--out", str(tmp_path / "no" / "schema.json")]) == 2
