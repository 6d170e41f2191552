"""What Python plugins need of others is locked by file and digest, and goes along wherever the lock goes."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from pathlib import Path

import pytest

from dataflare_host.app import Host
from dataflare_host.cli import main
from dataflare_index.closure import Wanted
from dataflare_index.publishing import add
from dataflare_packages.carrying import deploy
from dataflare_packages.lockfile import read_lock

from .conftest import Answer, Release
from .projects import SAY, greetings, other_wheel, python_wheel, wants


def pylock(project: Path, plugin: str) -> dict[str, str]:
    """Distribution → version."""
    told = tomllib.loads((project / "locks" / f"pylock.{plugin}.toml").read_text())
    return {each["name"]: each["version"] for each in told["packages"]}


def test_a_lock_fixes_what_a_plugin_needs_of_others(
    release: Release, shelf: Path, project: Path, answer: Answer
) -> None:
    greetings(shelf, "1.0", "2.0")
    release("hello", "greeting<2; python_version>='3'", "greeting>=9; extra=='more'")
    wants(project, 'hello: version = ""')
    assert answer("lock")[1]["environments"] == ["hello"]
    assert pylock(project, "hello") == {"greeting": "1.0", "lower": "1.0"}
    lock = read_lock(project)
    assert lock is not None
    assert lock.plugins["hello"].needs == ('greeting<2; python_version >= "3"',)
    text = {file: file.read_bytes() for file in (project / "dataflare.lock", project / "locks/pylock.hello.toml")}
    other_wheel(shelf, "greeting", "1.5")
    told = answer("lock")[1]
    assert (told["written"], told["environments"]) == (False, [])
    assert {file: file.read_bytes() for file in text} == text
    assert answer("upgrade", "--plan")[1]["environments"] == ["hello"]
    assert {file: file.read_bytes() for file in text} == text
    assert answer("upgrade")[1]["environments"] == ["hello"]
    assert pylock(project, "hello") == {"greeting": "1.5"}
    release("hello", "lower", version="1.1.0")
    assert answer("upgrade")[1]["environments"] == ["hello"]
    assert pylock(project, "hello") == {"lower": "1.0"}
    assert answer("remove", "hello")[0] == 0
    assert not list((project / "locks").iterdir())


def test_a_pylock_that_is_missing_or_changed_is_refused(
    release: Release, shelf: Path, project: Path, answer: Answer
) -> None:
    greetings(shelf, "1.0", "2.0")
    release("hello", "greeting")
    assert answer("add", "hello")[0] == 0
    file = project / "locks" / "pylock.hello.toml"
    text = file.read_text()
    file.write_text(text + "# more\n")
    code, told = answer("sync", "--locked")
    assert (code, told["errors"][0]["code"]) == (2, "lock.pylock")
    file.unlink()
    code, told = answer("sync", "--locked")
    assert (code, told["errors"][0]["code"]) == (2, "lock.pylock")
    assert answer("sync")[0] == 0
    assert file.read_text() == text


def test_a_pylock_that_somebody_made_is_taken_where_it_does_what_is_needed(
    release: Release, shelf: Path, project: Path, answer: Answer
) -> None:
    greetings(shelf, "1.0", "2.0")
    release("hello", "greeting")
    wants(project, 'hello: version = ""')
    file = project / "locks" / "pylock.hello.toml"
    file.parent.mkdir()
    other = 'lock-version = "1.0"\n[[packages]]\nname = "greeting"\nversion = "1.0"\n'
    file.write_text(other)
    assert answer("lock")[0] == 0
    assert file.read_text() == other
    file.write_text(other.replace("greeting", "another"))
    assert answer("lock")[1]["environments"] == ["hello"]
    assert pylock(project, "hello") == {"greeting": "2.0", "lower": "1.0"}


def test_what_no_version_fulfils_is_told_in_uvs_words_and_changes_nothing(
    release: Release, shelf: Path, project: Path, answer: Answer
) -> None:
    greetings(shelf, "1.0")
    release("hello", "greeting>=3")
    wants(project, 'hello: version = ""')
    code, told = answer("lock")
    assert (code, told["errors"][0]["code"], told["core"]) == (3, "lock.python", {"hello": "greeting>=3"})
    assert told["errors"][0]["cause"].startswith("hello: ")
    assert "greeting" in told["errors"][0]["cause"]
    assert not (project / "dataflare.lock").exists()
    assert not (project / "locks").exists()
    release("narrow", "pyarrow<1")  # the SDK, which is lent, does not go with it
    other_wheel(shelf, "pyarrow", "0.17")
    wants(project, 'narrow: version = ""')
    assert answer("lock")[0] == 3


def test_needs_come_from_the_plugins_own_index_and_only_as_its_keepers_signed_them(
    shelf: Path, project: Path, index: Path, answer: Answer, tmp_path: Path
) -> None:
    greetings(tmp_path / "given", "1.0")
    other_wheel(tmp_path / "given", "dataflare_sdk", "1.0.0")
    made = python_wheel(tmp_path / "built", "hello", "1.0.0", SAY, ["greeting"])
    add(index, [made], deps=Wanted([str(tmp_path / "given")]))
    wants(project, 'hello: version = ""')
    assert answer("lock")[0] == 0
    assert pylock(project, "hello") == {"greeting": "1.0", "lower": "1.0"}
    assert (index / "others").as_uri() in (project / "locks" / "pylock.hello.toml").read_text()
    text = (project / "locks" / "pylock.hello.toml").read_text()
    (place,) = index.glob("others/greeting/*.whl")
    shutil.copy(other_wheel(tmp_path / "forged", "greeting", "9.0", "word = 'forged'\n"), place.parent)
    (index / "simple" / "greeting" / "index.html").write_text(
        '<a href="../../others/greeting/greeting-9.0-py3-none-any.whl">'
    )
    (index / "simple" / "greeting" / "index.json").unlink()
    assert answer("upgrade")[0] == 0
    assert (project / "locks" / "pylock.hello.toml").read_text() == text
    metadata = place.parent / f"{place.name}.metadata"
    metadata.write_text(metadata.read_text().replace("lower", "evil1"))
    shutil.rmtree(project / ".dataflare" / "index" / "main" / "others")
    code, told = answer("upgrade")
    assert (code, told["attack"]) == (4, "arbitrary_content")
    assert (project / "locks" / "pylock.hello.toml").read_text() == text


def test_what_is_fresh_of_others_rests_too(project: Path, index: Path, answer: Answer, tmp_path: Path) -> None:
    greetings(tmp_path / "given", "1.0")
    other_wheel(tmp_path / "given", "dataflare_sdk", "1.0.0")
    made = python_wheel(tmp_path / "built", "hello", "1.0.0", SAY, ["greeting"])
    add(index, [made], deps=Wanted([str(tmp_path / "given")]))
    set_ = project / "plugins.toml"
    set_.write_text(set_.read_text() + '\n[choice]\nrest = "72h"\n')
    wants(project, 'hello: version = "==1.0.0"')
    code, told = answer("lock")
    assert (code, told["errors"][0]["code"]) == (3, "lock.python")
    assert "exclude-newer" in told["errors"][0]["cause"]


@pytest.mark.parametrize("isolation", ["worker", "inline"])
def test_a_bundle_has_what_the_plugins_need_and_installs_where_there_is_nothing(
    release: Release,
    shelf: Path,
    project: Path,
    answer: Answer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    isolation: str,
) -> None:
    greetings(shelf, "1.0")
    foreign = other_wheel(shelf, "lower", "1.0").rename(shelf / "lower-1.0-cp311-cp311-win_amd64.whl")
    other_wheel(shelf, "lower", "1.0")
    release("hello", "greeting")
    wants(project, f'hello: version = ""\nisolation = "{isolation}"')
    assert answer("lock")[0] == 0
    bundle, whole = tmp_path / "bundle.zip", tmp_path / "whole.zip"
    parts = {part["purl"]: part for part in answer("sbom")[1]["components"]}
    assert len(parts["pkg:pypi/greeting@1.0"]["hashes"]) == 1
    assert len(parts["pkg:pypi/lower@1.0"]["components"]) == 2
    files = {*answer("export", bundle)[1]["files"]}
    assert {*answer("export", whole, "--everywhere")[1]["files"]} - files == {f"wheels/{foreign.name}"}
    assert {"wheels/greeting-1.0-py3-none-any.whl", "wheels/lower-1.0-py3-none-any.whl"} < files
    shutil.rmtree(shelf)
    shelf.mkdir()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "empty"))
    there = tmp_path / "there"
    with Host.start() as host:
        deploy(bundle, there, host)
    locks = {file.name: file.read_bytes() for file in (project / "locks").iterdir()}
    assert {file.name: file.read_bytes() for file in (there / "locks").iterdir()} == locks
    (module,) = tmp_path.glob("empty/envs/*/lib/*/site-packages/greeting.py")
    assert module.read_text() == "word = '1.0'\n"
    assert main(["plugin", "sync", "--locked", "--offline", "--project", str(there)]) == 0


def test_a_wheel_of_others_that_was_exchanged_is_neither_exported_nor_installed(
    release: Release, shelf: Path, project: Path, answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greetings(shelf, "1.0")
    release("hello", "greeting")
    wants(project, 'hello: version = ""')
    assert answer("lock")[0] == 0
    other_wheel(shelf, "greeting", "1.0", "word = 'forged'\n")
    code, told = answer("export", tmp_path / "bundle.zip")
    assert (code, told["attack"]) == (4, "arbitrary_content")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another"))
    assert answer("sync", "--locked")[1]["errors"][0]["code"] == "worker.environment"
    assert not list(tmp_path.glob("cache/envs/*/environment.json"))
    assert not (tmp_path / "bundle.zip").exists()


@pytest.mark.parametrize("name", ["../../../../outside.whl", ".hidden.whl", "dir/x.whl", "x.exe"])
@pytest.mark.parametrize("digest", ["", "../" * 8])
def test_a_pylock_whose_names_lead_elsewhere_is_refused(
    release: Release, shelf: Path, project: Path, answer: Answer, tmp_path: Path, name: str, digest: str
) -> None:
    given = other_wheel(shelf, "greeting", "1.0")
    sha256 = digest or hashlib.sha256(given.read_bytes()).hexdigest()
    release("hello", "greeting")
    (project / "locks").mkdir()
    entry = f'{{ name = "{name}", url = "{given.as_uri()}", hashes = {{ sha256 = "{sha256}" }} }}'
    text = f'lock-version = "1.0"\n[[packages]]\nname = "greeting"\nversion = "1.0"\nwheels = [{entry}]\n'
    (project / "locks" / "pylock.hello.toml").write_text(text)
    wants(project, 'hello: version = ""')
    assert answer("lock")[0] == 0
    assert answer("export", tmp_path / "bundle.zip")[1]["errors"][0]["code"] == "lock.pylock"
    assert answer("sync", "--locked")[1]["errors"][0]["code"] == "worker.environment"
    assert not list(tmp_path.rglob("outside.whl"))
