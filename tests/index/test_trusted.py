"""A project names the indexes that it trusts, by their roots; a name in two of them is nobody's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare import ConfigError, Failed
from dataflare_index.checking import root_of
from dataflare_index.publishing import add, init
from dataflare_index.trusted import holder_of, indexes_of, trust

from .wheels import wheel


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    init(place, "Main Shop")
    add(place, [wheel(tmp_path / "built", "geohash")])
    return place


def test_a_project_trusts_an_index_by_its_root(index: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "plugins.toml").write_text("# mine\n[broker]\ntotal = '2m'\n")
    trust(project, str(index), root_of(index))
    (one,) = indexes_of(project)
    assert (one.name, one.names(), one.snapshot()) == ("main-shop", ["geohash"], 2)
    assert (project / "trust" / "main-shop.root.json").read_bytes() == root_of(index)
    assert (project / "plugins.toml").read_text().startswith("# mine\n[broker]\ntotal = '2m'\n")
    name = next(iter(one.plugin("geohash").releases["1.0.0"]["files"]))
    assert one.wheel("geohash", name, tmp_path / name).exists()
    with pytest.raises(ConfigError, match="has no"):
        one.plugin("other")
    again = tmp_path / "index2"
    init(again, "main-shop")
    with pytest.raises(ConfigError, match="another root"):
        trust(project, str(again), root_of(again))
    with pytest.raises(Failed) as caught:
        trust(project, str(again), root_of(index), "second")
    assert caught.value.code == "index.not_trusted"
    assert [one.name for one in indexes_of(project)] == ["main-shop"]


def test_a_locked_digest_is_taken_and_no_other(index: Path, tmp_path: Path) -> None:
    one = trust(tmp_path / "project", str(index), root_of(index))
    name, file = next(iter(one.plugin("geohash").releases["1.0.0"]["files"].items()))
    assert one.wheel("geohash", name, tmp_path / "a.whl", file["sha256"]).stat().st_size == file["size"]
    with pytest.raises(Failed) as caught:
        one.wheel("geohash", name, tmp_path / "b.whl", "0" * 64)
    assert caught.value.problems[0].details["attack"] == "arbitrary_content"
    assert not (tmp_path / "b.whl").exists()


def test_a_name_in_two_indexes_is_refused_unless_one_is_pinned(index: Path, tmp_path: Path) -> None:
    other, project = tmp_path / "other", tmp_path / "project"
    init(other, "other")
    add(other, [wheel(tmp_path / "evil", "geohash", "9.0.0")])
    trust(project, str(index), root_of(index))
    trust(project, str(other), root_of(other))
    with pytest.raises(Failed) as caught:
        holder_of(indexes_of(project), "geohash")
    assert (caught.value.code, caught.value.exit_code) == ("index.two_indexes", 4)
    assert list(holder_of(indexes_of(project), "geohash", "main-shop")[1].releases) == ["1.0.0"]
    with pytest.raises(ConfigError, match="no plugin `nothing`"):
        holder_of(indexes_of(project), "nothing", "other")


def test_the_command(index: Path, tmp_path: Path) -> None:
    root = index / "metadata" / "1.root.json"
    run = [sys.executable, "-m", "dataflare_host", "index", "trust", str(index), "--project", str(tmp_path), "--json"]
    done = subprocess.run([*run, "--root", str(root)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "main-shop"
    (tmp_path / "no.json").write_text("{}")
    wrong = subprocess.run([*run, "--root", str(tmp_path / "no.json")], capture_output=True, text=True, timeout=60)
    assert "index.root" in wrong.stdout + wrong.stderr
    assert wrong.returncode == 2
