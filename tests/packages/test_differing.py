"""What changed between two versions of a plugin, and whether their numbers say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare_packages.differing import compare
from dataflare_packages.schema_changes import changes
from dataflare_packages.surface import Surface

Answer = Callable[..., tuple[int, Any]]
VALUES = st.integers(-3, 3) | st.sampled_from(["", "a", "abc"]) | st.just(1.5) | st.none() | st.booleans()
NAMES = ("one", "two", "three")


def bounded(*words: str) -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(st.sampled_from(words), st.integers(-2, 2), max_size=2)


FIELDS = st.one_of(
    bounded("minimum", "maximum").map(lambda bounds: {"type": "integer", **bounds}),
    bounded("minimum", "exclusiveMaximum").map(lambda bounds: {"type": "number", **bounds}),
    st.dictionaries(st.sampled_from(["minLength", "maxLength"]), st.integers(0, 3), max_size=2).map(
        lambda bounds: {"type": "string", **bounds}
    ),
    st.lists(VALUES, min_size=1, max_size=3, unique_by=repr).map(lambda values: {"enum": values}),
    st.sampled_from(
        [{}, {"type": "boolean"}, {"type": ["string", "null"]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}]
    ),
    bounded("minimum").map(lambda bounds: {"type": "array", "items": {"type": "integer", **bounds}}),
)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    fields = draw(st.dictionaries(st.sampled_from(NAMES), FIELDS, max_size=3))
    required = draw(st.lists(st.sampled_from(sorted(fields)), unique=True)) if fields else []
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def is_right(schema: dict[str, Any], value: object) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@st.composite
def changed(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], object]:
    """A schema, the same with one field changed, and a value for that field."""
    old, name = draw(schemas()), draw(st.sampled_from(NAMES))
    old["properties"] = {name: draw(FIELDS), **{other: {} for other in old["required"] if other != name}}
    new = json.loads(json.dumps(old))
    field = new["properties"][name]
    for word in draw(st.lists(st.sampled_from(sorted(field)), max_size=1)) if field else ():
        value = field.pop(word)
        if isinstance(value, list) and len(value) > 1:
            field[word] = value[1:]
        elif isinstance(value, int):
            field[word] = value + draw(st.sampled_from([-1, 1]))
    new["properties"][name] = draw(st.just(field) | FIELDS)
    return old, new, draw(VALUES | st.lists(st.integers(-3, 3), max_size=2) | st.sampled_from(field.get("enum", [0])))


@settings(max_examples=1500, deadline=None)
@given(changed())
def test_what_was_right_stays_right_unless_a_change_is_major(
    made: tuple[dict[str, Any], dict[str, Any], object],
) -> None:
    old, new, value = made
    if not any(change.weight == "major" for change in changes(old, new)):
        config = dict.fromkeys(old["properties"], value)
        assert not is_right(old, config) or is_right(new, config), (changes(old, new), config)


@given(schemas())
def test_a_schema_does_not_differ_from_itself(schema: dict[str, Any]) -> None:
    assert changes(schema, json.loads(json.dumps(schema))) == []


CONFIG = {"type": "object", "properties": {"above": {"type": "integer"}}, "additionalProperties": False}


def surface(version: str, *components: dict[str, Any], **manifest: Any) -> Surface:
    named = {f"{each['kind']}/{each['name']}": each for each in components}
    return Surface("geo", version, manifest, named)


def component(**more: Any) -> dict[str, Any]:
    told = {"kind": "processor", "name": "hot", "config": CONFIG, "version": 1, "operations": ["process"]}
    return {**told, "abilities": {"deterministic": True, "cardinality": "filter"}, **more}


def http(*hosts: str, **more: Any) -> dict[str, Any]:
    return {"http": [{"host": host, "reason": f"asks {host}", **more} for host in hosts]}


CASES = {
    "nothing": (component(), component(summary="Better said."), None),
    "another name": (component(), component(name="hotter"), "major"),
    "another name that answers to both": (component(), component(name="hotter", aliases=["hot"]), "minor"),
    "a field less": (component(), component(config={**CONFIG, "properties": {}}), "major"),
    "a field that must be given": (component(), component(config={**CONFIG, "required": ["above"]}), "major"),
    "deprecated": (component(), component(deprecated="use hotter"), "minor"),
    "a promise broken": (component(), component(abilities={"deterministic": False, "cardinality": "filter"}), "major"),
    "other rows": (component(), component(abilities={"deterministic": True, "cardinality": "any"}), "major"),
    "a state that is migrated": (component(), component(version=2, operations=["migrate_state"]), "minor"),
    "a state that is not": (component(), component(version=2), "major"),
    "an older state": (component(version=2), component(version=1, operations=["migrate_state"]), "major"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_change_weighs(name: str) -> None:
    old, new, weight = CASES[name]
    assert compare(surface("1.0.0", old), surface("1.0.1", new)).needs == weight


def test_permissions_are_compared_by_what_they_reach() -> None:
    def needs(old: dict[str, Any], new: dict[str, Any]) -> str | None:
        return compare(surface("1.0.0", permissions=old), surface("1.1.0", permissions=new)).needs

    assert needs(http("*.example.com"), http("*.example.com")) is None
    assert needs(http("*.example.com"), http("api.example.com")) == "patch"
    assert needs(http("api.example.com"), http("*.example.com")) == "minor"
    assert needs(http("api.example.com", methods=["GET"]), http("api.example.com", methods=["GET", "POST"])) == "minor"
    assert needs(http("api.example.com", methods=["GET"]), http("api.example.com")) == "minor"
    assert needs({}, http("api.example.com")) == "minor"


@pytest.mark.parametrize(
    ("old", "new", "weights"),
    [
        ("1.0.0", "2.0.0", "patch minor major"),
        ("1.0.0", "1.1.0", "patch minor"),
        ("1.0.0", "1.0.1", "patch"),
        ("1.0.0", "1.0.0", ""),
        ("1.1.0", "1.0.9", ""),
        ("0.1.0", "0.2.0", "patch minor major"),
        ("0.1.0", "0.1.1", "patch minor"),
    ],
)
def test_a_number_says_as_much_as_the_change_weighs_or_is_not_honest(old: str, new: str, weights: str) -> None:
    of = {"patch": (http("a.example"), {}), "minor": ({}, http("a.example"))}
    found = {
        weight: compare(surface(old, permissions=one), surface(new, permissions=other)).honest
        for weight, (one, other) in of.items()
    }
    found["major"] = compare(surface(old, component()), surface(new)).honest
    assert {weight for weight, honest in found.items() if honest} == set(weights.split())


def test_the_command_compares_wheels_folders_and_releases(
    answer: Answer, publish: Callable[..., Path], project: Path, tmp_path: Path
) -> None:
    first = publish("geo", "1.0.0")
    second = publish("geo", "1.0.1", asks='http = [{ host = "api.example.com", reason = "places" }]')
    code, told = answer("diff", "geo@1.0.0", second)
    assert (code, told["needs"], told["says"], told["ok"]) == (1, "minor", "patch", False)
    assert [(each["what"], each["place"]) for each in told["differences"]] == [("permission", "http")]
    code, told = answer("diff", first, "geo@1.0.0")
    assert (code, told["differences"], told["ok"]) == (0, [], True)
    code, told = answer("diff", first, publish("other", "1.0.0"))
    assert (code, told["errors"][0]["code"]) == (2, "diff.other_plugin")
    code, told = answer("diff", first, tmp_path)
    assert (code, told["errors"][0]["code"]) == (2, "diff.plugin")
    code, told = answer("diff", first, "geo@9.9")
    assert (code, told["errors"][0]["code"]) == (2, "index.unknown")


@pytest.mark.parametrize("told", [{"config": "text"}, {"abilities": 3}, {"aliases": {}}, {"version": "two"}])
def test_a_description_that_is_nonsense_is_refused(told: dict[str, Any]) -> None:
    table = json.dumps({"components": [component(**told)]}).encode()
    with pytest.raises(ConfigError, match="not the files of a plugin"):
        Surface.of(b'[plugin]\nid = "geo"\nversion = "1.0.0"\n', table)
