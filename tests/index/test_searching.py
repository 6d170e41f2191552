"""An index is searched by one signed file, which knows each plugin's newest version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflare import ConfigError, Failed
from dataflare_host.cli import main
from dataflare_index.checking import mirror, root_of, verify
from dataflare_index.client import Client
from dataflare_index.publishing import add, init, yank
from dataflare_index.searching import lines_in, matching, read
from dataflare_index.trusted import trust

from .served import serving
from .wheels import wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place, built = tmp_path / "index", tmp_path / "built"
    init(place, "test")
    add(place, [wheel(built, "geohash"), wheel(built, "geohash", "1.10.0"), wheel(built, "geohash", "2.0.0rc1")])
    add(place, [wheel(built, "nmea-source"), wheel(built, "geofence")])
    return place


def versions(index: Path, root: bytes, cache: Path) -> dict[str, str]:
    return {name: line["version"] for name, line in Client(str(index), root, cache).search().items()}


def test_the_newest_version_that_may_be_chosen_is_shown(index: Path, tmp_path: Path) -> None:
    root, cache = root_of(index), tmp_path / "cache"
    assert versions(index, root, cache) == {"geofence": "1.0.0", "geohash": "1.10.0", "nmea-source": "1.0.0"}
    yank(index, "geohash", "1.10.0", "slow")
    assert versions(index, root, cache)["geohash"] == "1.0.0"
    assert verify(index) == []
    mirror(str(index), tmp_path / "copy", root)
    assert versions(tmp_path / "copy", root, tmp_path / "other") == versions(index, root, cache)


def test_old_files_go_and_the_one_in_use_stays(index: Path, tmp_path: Path) -> None:
    for number in range(8):
        add(index, [wheel(tmp_path / "built", "geohash", f"1.11.{number}")])
    assert 2 <= len(list(index.glob("*.search.json"))) <= 4
    assert versions(index, root_of(index), tmp_path / "cache")["geohash"] == "1.11.7"


def test_a_file_that_was_changed_is_refused(index: Path, tmp_path: Path) -> None:
    for file in index.glob("*.search.json"):
        file.write_bytes(file.read_bytes().replace(b"For tests", b"For money"))
    with pytest.raises(Failed) as caught:
        versions(index, root_of(index), tmp_path / "cache")
    assert caught.value.problems[0].details["attack"] == "arbitrary_content"


def test_all_words_have_to_match_and_names_come_first(index: Path) -> None:
    lines = read(str(index)).values()
    assert [line["name"] for line in matching(lines, ["geo"])] == ["geofence", "geohash"]
    assert [line["name"] for line in matching(lines, ["TESTS", "hash"])] == ["geohash"]
    assert matching(lines, ["geo", "nothing"]) == []
    assert len(matching(lines, [])) == 3
    with pytest.raises(ConfigError, match="nonsense"):
        lines_in(b'{"plugins": 3}')


def test_the_command(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["plugin", "search", *words]) == code
        out, err = capsys.readouterr()
        return out + err

    trust(tmp_path / "project", str(index), root_of(index))
    found = json.loads(told("geo", "hash", "--project", str(tmp_path / "project"), "--json"))
    assert [(each["name"], each["index"]) for each in found["plugins"]] == [("geohash", "test")]
    assert "geofence 1.0.0  For tests." in told("fence", "--index", str(index))
    assert "index.none" in told("geo", "--index", str(tmp_path), code=2)
    with serving(index) as place:
        assert "geofence 1.0.0  For tests." in told("fence", "--index", place)
        assert "index.unreachable" in told("fence", "--index", f"{place}/nowhere", code=1)
        trust(tmp_path / "project", place, root_of(index), "served")
        project = ["--project", str(tmp_path / "project"), "--json"]
        for asked, wanted in ((place, "served"), ("served", "served"), ("test", "test"), (str(index), "test")):
            found = json.loads(told("fence", "--index", asked, *project))["plugins"]
            assert [each["index"] for each in found] == [wanted]
    assert "index.none" in told("geo", "--project", str(tmp_path), code=2)


def test_an_index_without_plugins_has_nothing_to_find(tmp_path: Path) -> None:
    init(tmp_path / "empty", "empty")
    assert Client(str(tmp_path / "empty"), root_of(tmp_path / "empty"), tmp_path / "cache").search() == {}
