"""Pages of an index: what authors wrote is text, and only what changed is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflare import ConfigError
from dataflare_index.catalogue import Listed
from dataflare_index.publishing import init
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


def test_a_folder_that_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no index"):
        make(tmp_path, tmp_path / "site")


def test_a_schema_becomes_rows_and_nonsense_none() -> None:
    schema = {"properties": {"size": {"type": "integer", "default": 3}, "odd": 1}, "required": ["size"]}
    assert fields_of(schema) == [{"name": "size", "type": "integer", "default": "3", "required": "yes", "text": ""}]
    assert fields_of({"properties": []}) == []
