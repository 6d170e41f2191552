"""``plugin new``: names, places, and what is made."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import ConfigError
from dataflare_author.names import new_names


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[a-z0-9-]{1,70}", fullmatch=True)))
def test_a_name_is_taken_or_a_better_one_is_named(name: str) -> None:
    try:
        names = new_names(name)
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.code == "author.name"
        assert problem.fix is not None
        names = new_names(problem.fix.removeprefix("write `").removesuffix("`"))
    assert names.package.isidentifier()
    assert names.wheel("0.1.0") == f"dataflare_{names.id.replace('-', '_')}-0.1.0-py3-none-any.whl"


def test_the_answer_names_what_was_made(answer, tmp_path: Path) -> None:
    code, told = answer("plugin", "new", "acme-geo", "--lang", "python", "--kind", "tool", "--dir", tmp_path)
    assert (code, told["uses"]) == (0, "acme-geo/acme-geo")
    made = {str(path.relative_to(told["folder"])) for path in Path(told["folder"]).rglob("*") if path.is_file()}
    assert made == set(told["files"])
    assert not [path for path in made if "__" in path and "__init__" not in path]


def test_a_folder_that_holds_something_is_left_alone(answer, tmp_path: Path) -> None:
    (tmp_path / "geo").mkdir()
    (tmp_path / "geo" / "mine.txt").write_text("mine")
    code, told = answer("plugin", "new", "geo", "--lang", "python", "--kind", "tool", "--dir", tmp_path)
    assert (code, told["errors"][0]["code"]) == (2, "author.folder")
    assert [path.name for path in (tmp_path / "geo").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_used(answer, tmp_path: Path) -> None:
    (tmp_path / "geo").mkdir()
    assert answer("plugin", "new", "geo", "--lang", "python", "--kind", "tool", "--dir", tmp_path)[0] == 0


def test_a_place_that_cannot_be_written_is_told(answer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, told = answer("plugin", "new", "geo", "--lang", "python", "--kind", "tool", "--dir", tmp_path / "file")
    assert (code, told["errors"][0]["code"]) == (2, "author.folder")


@pytest.mark.parametrize("name", ["Geo", "9geo", "geo_hash", "geo--hash", "geo-", "", "ä", "a" * 61])
def test_a_name_that_could_not_stand_in_a_flow_is_refused(answer, name: str, tmp_path: Path) -> None:
    code, told = answer("plugin", "new", name, "--lang", "python", "--kind", "tool", "--dir", tmp_path)
    assert (code, told["errors"][0]["code"]) == (2, "author.name")
    assert list(tmp_path.iterdir()) == []
