"""YAML with the place of everything: core words only, every oddity a problem with file, line and column."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare_flow.document import MAX_BYTES, child, core_scalar, parse_document, read_document


def problem(text: str | bytes):
    content = text if isinstance(text, bytes) else text.encode()
    try:
        document = parse_document(content, "flow.yaml")
    except ConfigError as error:
        (found,) = error.problems
        return found
    (found,) = document.problems
    return found


def test_words_mean_what_the_core_schema_says() -> None:
    text = """
    yes: yes
    on: off
    flag: True
    ten: 010
    sixteen: 0x10
    eight: 0o10
    half: .5
    big: 1e3
    nothing: ~
    empty:
    day: 2026-11-23
    clock: 12:30:00
    quoted: "5"
    tagged: !!str 5
    version: 1.10.0
    """
    assert parse_document(text.encode(), "f").value == {
        "yes": "yes",
        "on": "off",
        "flag": True,
        "ten": 10,
        "sixteen": 16,
        "eight": 8,
        "half": 0.5,
        "big": 1000.0,
        "nothing": None,
        "empty": None,
        "day": "2026-11-23",
        "clock": "12:30:00",
        "quoted": "5",
        "tagged": "5",
        "version": "1.10.0",
    }


def test_everything_has_its_place() -> None:
    text = "sources:\n  a: {uses: std/files, with: {path: x}}\nlist:\n  - one\n  - {two: 2}\n'a/b~c': 1\n"
    places = parse_document(text.encode(), "f").places
    assert places["/sources"] == (1, 1)
    assert places["/sources/a"] == (2, 3)
    assert places["/sources/a/uses"] == (2, 13)
    assert places["/sources/a/with/path"] == (2, 37)
    assert places["/list/1/two"] == (5, 11)
    assert places[child("", "a/b~c")] == (6, 10)


def test_a_duplicate_key_names_both_places_and_keeps_the_first() -> None:
    document = parse_document(b"a: 1\nb:\n  x: 1\n  y: 2\n  x: 3\n", "flow.yaml")
    (found,) = document.problems
    assert (found.code, found.line, found.column, found.pointer) == ("flow.duplicate_key", 5, 3, "/b/x")
    assert found.details["first"] == {"line": 3, "column": 3}
    assert document.value["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "flow.empty", 1, 1),
        ("# only a comment\n", "flow.empty", 1, 1),
        ("- a\n- b\n", "flow.not_mapping", 1, 1),
        ("just text\n", "flow.not_mapping", 1, 1),
        ("a: 1\nb:\n\t- c\n", "flow.syntax", 3, 1),
        ("a: [1, 2\nb: 3\n", "flow.syntax", 2, 2),
        ("a: 'open\n", "flow.syntax", 2, 1),
        ("a: 1\n---\nb: 2\n", "flow.syntax", 2, 1),
        ("a: \x07\n", "flow.syntax", 1, 4),
        ("<<: {a: 1}\n", "flow.merge_key", 1, 1),
        ("a: !!python/object:os.system 1\n", "flow.tag", 1, 4),
        ("a: .nan\n", "flow.number", 1, 4),
        ("a: 1e999\n", "flow.number", 1, 4),
        ("a: " + "9" * 5000 + "\n", "flow.number", 1, 4),
        ("a: *nobody\n", "flow.alias", 1, 4),
        ("a: &x [1, *x]\n", "flow.alias", 1, 11),
        ("? [a, b]\n: 1\n", "flow.key", 1, 3),
        ("a: " + "[" * 900, "flow.too_deep", 1, 68),
        (b"a: 1\nb: caf\xe9\n", "flow.encoding", 2, 7),
        (b"x: 1\n" * (MAX_BYTES // 5 + 1), "flow.too_large", None, None),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, code, line, column) -> None:
    found = problem(text)
    assert (found.code, found.line, found.column, found.file) == (code, line, column, "flow.yaml")


def test_tabs_and_unquoted_variables_get_a_fix_of_their_own() -> None:
    assert "spaces" in (problem("a:\n\tb: 1\n").fix or "")
    assert "quotes" in (problem("a: {path: ${env:HOME}}\n").fix or "")


def test_an_alias_repeats_a_value_but_not_without_bound() -> None:
    assert parse_document(b"a: &x {n: 1}\nb: *x\n", "f").value["b"] == {"n": 1}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    assert problem(bomb).code == "flow.too_large"


def test_aliases_cannot_stack_up_depth() -> None:
    tower = f"a0: &a0 {'[' * 40}{']' * 40}\n" + "".join(
        f"a{n}: &a{n} {'[' * 40}*a{n - 1}{']' * 40}\n" for n in range(1, 40)
    )
    assert problem(tower).code == "flow.too_deep"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.yaml", "flow.missing"), (tmp_path, "flow.unreadable")):
        with pytest.raises(ConfigError) as caught:
            read_document(path)
        assert caught.value.code == code
        assert caught.value.problems[0].file == str(path)


def test_a_byte_order_mark_and_json_are_fine() -> None:
    assert parse_document(b'\xef\xbb\xbf{"a": [1, {"b": null}]}', "f").value == {"a": [1, {"b": None}]}


# YAML knows no surrogate pairs, and keys of at most 1,024 characters as they are written
words = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(words, json_values, max_size=4))
def test_json_is_read_as_json(value) -> None:
    import json

    written = json.dumps(value)
    assert parse_document(written.encode(), "f").value == value


@given(st.binary(max_size=200))
def test_no_bytes_bring_anything_but_a_document_or_a_config_error(content: bytes) -> None:
    try:
        problems = parse_document(content, "f").problems
    except ConfigError as error:
        problems = list(error.problems)
    assert all(each.file == "f" and each.line for each in problems)


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_stay_whole(number: int) -> None:
    assert core_scalar(str(number)) == number
