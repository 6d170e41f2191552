"""Pages of an index: what authors wrote is text, and only what changed is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from index.wheels import wheel

from dataflare import ConfigError
from dataflare_index.catalogue import Listed
from dataflare_index.publishing import add, init
from dataflare_site.pages import fields_of, make

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    init(place, "test")
    for name, needs in (("geohash", {}), ("nmea-source", {"geohash": ">=1"})):
        release = {
            "summary": HOSTILE, "license": "MIT", "runtime": "wasm", "api": ">=1", "files": {}, "yanked": None,
            "dependencies": needs, "components": {"processor": [name]}, "summaries": {"processor": {name: HOSTILE}},
            "permissions": {"http": [{"host": "example.org", "reason": HOSTILE}]},
        }  # fmt: skip
        told = Listed(name, {"1.0.0": release})
        (place / "catalogue").mkdir(exist_ok=True)
        (place / "catalogue" / f"{name}.json").write_bytes(told.content())
    return place


def test_what_authors_wrote_is_text(index: Path, tmp_path: Path) -> None:
    make(index, tmp_path / "site")
    page = (tmp_path / "site" / "plugin" / "geohash" / "index.html").read_text("utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "script-src &#39;self&#39;" in page or "script-src 'self'" in page


def test_a_plugin_names_those_that_need_it(index: Path, tmp_path: Path) -> None:
    make(index, tmp_path / "site")
    page = (tmp_path / "site" / "plugin" / "geohash" / "index.html").read_text("utf-8")
    assert '<a href="../nmea-source/index.html">' in page


def test_only_what_changed_is_written(index: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert make(index, site)["plugins"] == 2
    assert make(index, site)["written"] == 0
    file = index / "catalogue" / "geohash.json"
    told = json.loads(file.read_text("utf-8"))
    told["releases"]["1.0.0"]["license"] = "Apache-2.0"
    file.write_text(json.dumps(told), "utf-8")
    assert make(index, site)["written"] == 1


def test_pages_of_what_is_gone_go_too_and_others_stay(index: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    report = index / "reports" / "geohash" / "1.0.0.json"
    report.parent.mkdir(parents=True)
    report.write_text("{}")
    make(index, site)
    (site / "plugin" / "by-hand").mkdir()
    assert (site / "plugin" / "geohash" / "report.html").exists()
    report.unlink()
    file = index / "catalogue" / "geohash.json"
    told = json.loads(file.read_text("utf-8"))
    told["releases"]["1.1.0"] = told["releases"]["1.0.0"]
    told["releases"]["1.0.0"] = {**told["releases"]["1.0.0"], "yanked": "old"}
    file.write_text(json.dumps(told), "utf-8")
    (index / "catalogue" / "nmea-source.json").unlink()
    make(index, site)
    assert sorted(path.name for path in (site / "plugin").iterdir()) == ["by-hand", "geohash"]
    assert [path.name for path in (site / "plugin" / "geohash").iterdir()] == ["index.html"]
    assert "nmea-source" not in (site / "search-data.js").read_text()


def test_a_folder_that_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no index"):
        make(tmp_path, tmp_path / "site")


def test_a_schema_becomes_rows_and_nonsense_none() -> None:
    schema = {"properties": {"size": {"type": "integer", "default": 3}, "odd": 1}, "required": ["size"]}
    assert fields_of(schema) == [{"name": "size", "type": "integer", "default": "3", "required": "yes", "text": ""}]
    assert fields_of({"properties": []}) == []


def test_a_page_says_what_changed_and_what_is_not_verified(tmp_path: Path) -> None:
    one = {"config": {"type": "object", "properties": {"size": {"type": "integer"}}}}
    two = {"config": {"type": "object", "properties": {"size": {"type": "integer"}, "unit": {"type": "string"}}}}
    page = _page(tmp_path, one, two)
    assert "config <code>processor/geohash/unit</code> is new" in page
    assert "not verified" in page


@pytest.mark.parametrize(
    "odd",
    [
        {"config": "text"},
        {"config": {"properties": [1], "required": 3}},
        {"config": {"properties": {"size": {"type": {}, "enum": 3, "anyOf": [1]}}}},
        {"config": {"$ref": "#"}},
        {"abilities": 3},
        {"aliases": 3, "operations": 3, "version": []},
    ],
)
def test_a_nonsensical_description_keeps_no_page_from_being_made(tmp_path: Path, odd: dict[str, object]) -> None:
    usual = {"config": {"type": "object", "properties": {"size": {"type": "integer"}}}}
    assert "1.1.0" in _page(tmp_path, usual, odd)


def _page(folder: Path, *described: dict[str, object]) -> str:
    """The page of a plugin with a version for each description of its component."""
    place = folder / "index"
    init(place, "test")
    for number, told in enumerate(described):
        table = {"components": [{"kind": "processor", "name": "geohash", **told}]}
        add(place, [wheel(folder / "wheels", "geohash", f"1.{number}.0", table=json.dumps(table).encode())])
    make(place, folder / "site")
    return (folder / "site" / "plugin" / "geohash" / "index.html").read_text("utf-8")
