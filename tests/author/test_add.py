"""``plugin add``: what is checked, asked, unpacked and written."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from dataflare_author.names import new_names
from dataflare_author.scaffold import scaffold

SET = """# The plugins of this project.

[plugins.geohash]  # made last week
folder = "elsewhere"   # by hand
digest = "sha256:00"
"""
DIST = "dataflare_acme_post-0.1.0.dist-info"
PACKAGE = "dataflare_acme_post"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_what_is_asked_for_is_said_and_nothing_is_added(answer, built: Path, project: Path) -> None:
    code, told = answer("plugin", "add", built, "--project", project)
    assert (code, told["ok"]) == (5, False)
    assert [(rule["permission"], bool(rule["reason"])) for rule in told["asks"]] == [("http", True)]
    assert not (project / "plugins.toml").exists()
    assert not list((project / ".dataflare" / "plugins" / "acme-post").iterdir())


def test_what_is_granted_is_written_and_not_asked_again(answer, built: Path, changed, project: Path) -> None:
    code, told = answer("plugin", "add", built, "--project", project, "--grant")
    assert code == 0
    assert (Path(told["folder"]) / "dataflare.toml").exists()
    written = (project / "plugins.toml").read_text()
    assert "isolation" in written
    assert "grants = {http = [{" in written
    assert answer("plugin", "add", built, "--project", project)[0] == 0
    assert (project / "plugins.toml").read_text() == written
    more = changed(lambda files: _edit(files, "dataflare.toml", "[limits]", 'files = [{reason = "r"}]\n[limits]'))
    code, told = answer("plugin", "add", more, "--project", project)
    assert (code, {rule["permission"] for rule in told["asks"]}) == (5, {"http", "files"})
    assert (project / "plugins.toml").read_text() == written


def test_other_entries_and_comments_stay(answer, built: Path, project: Path) -> None:
    (project / "plugins.toml").write_text(SET)
    assert answer("plugin", "add", built, "--project", project, "--grant")[0] == 0
    assert (project / "plugins.toml").read_text().startswith(SET)
    assert answer("plugin", "remove", "acme-post", "--project", project)[0] == 0
    assert (project / "plugins.toml").read_text().strip() == SET.strip()
    assert not (project / ".dataflare" / "plugins" / "acme-post").exists()


def test_a_set_that_cannot_be_read_is_left_alone(answer, built: Path, project: Path) -> None:
    (project / "plugins.toml").write_text("[plugins.\n")
    code, told = answer("plugin", "add", built, "--project", project, "--grant")
    assert (code, told["errors"][0]["code"]) == (2, "author.set")
    assert (project / "plugins.toml").read_text() == "[plugins.\n"


def test_a_folder_is_built_first(answer, built: Path, project: Path) -> None:
    code, told = answer("plugin", "add", built.parent.parent, "--project", project, "--grant", "--isolation", "inline")
    assert (code, told["isolation"]) == (0, "inline")


@pytest.mark.parametrize(
    ("name", "code"),
    [("nothing-like-it", "lock.no_solution"), ("no/such/folder", "author.wheel")],
    ids=["installed", "unknown"],
)
def test_a_name_is_told_what_it_is(answer, project: Path, name: str, code: str) -> None:
    assert answer("plugin", "add", name, "--project", project)[1]["errors"][0]["code"] == code


def test_a_project_that_is_not_there_is_told(answer, built: Path, tmp_path: Path) -> None:
    assert answer("plugin", "add", built, "--project", tmp_path / "no")[1]["errors"][0]["code"] == "author.no_project"


def _edit(files: dict[str, bytes], name: str, old: str, new: str) -> None:
    path = next(path for path in files if path.endswith(name))
    assert old.encode() in files[path]
    files[path] = files[path].replace(old.encode(), new.encode())


WRONG = {
    "another manifest": lambda files: _edit(files, "dataflare.toml", '"acme-post"', '"acme-host"'),
    "another version": lambda files: _edit(files, "dataflare.toml", '"0.1.0"', '"0.2.0"'),
    "another distribution": lambda files: _edit(files, "METADATA", "Name: dataflare-acme-post", "Name: acme-post"),
    "another entry point": lambda files: _edit(files, "entry_points.txt", "acme-post =", "acme-host ="),
    "two entry points": lambda files: _edit(files, "entry_points.txt", "acme-post =", f"acme = {PACKAGE}\nacme-post ="),
    "another package": lambda files: files.update({"requests/__init__.py": b""}),
    "a file beside the package": lambda files: files.update({"evil.pth": b"import os"}),
    "a script": lambda files: files.update({"dataflare_acme_post-0.1.0.data/scripts/run": b""}),
    "no record": lambda files: files.pop(f"{DIST}/RECORD"),
    "no metadata": lambda files: files.pop(f"{DIST}/METADATA"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wheel_that_says_two_things_is_refused(answer, changed, project: Path, change) -> None:
    code, told = answer("plugin", "add", changed(change), "--project", project, "--grant")
    assert (code, told["errors"][0]["code"]) == (2, "author.wheel")
    assert not (project / "plugins.toml").exists()


def test_a_wheel_that_was_changed_is_refused(answer, changed, built: Path, project: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    for name in names:
        wheel = changed(lambda files, name=name: files.update({name: files[name] + b"\n"}), sealed=False)
        told = answer("plugin", "add", wheel, "--project", project, "--grant")[1]
        if not name.endswith("RECORD"):
            assert told["errors"][0]["code"] == "author.wheel", name


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip file at all"])
def test_what_is_no_archive_is_refused(answer, project: Path, tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "dataflare_x-0.1.0-py3-none-any.whl"
    wheel.write_bytes(content)
    assert answer("plugin", "add", wheel, "--project", project)[1]["errors"][0]["code"] == "author.wheel"


def test_a_name_that_follows_from_no_id_is_refused(answer, built: Path, tmp_path: Path, project: Path) -> None:
    missing = tmp_path / built.name.replace("post", "gone")
    assert answer("plugin", "add", missing, "--project", project)[1]["errors"][0]["code"] == "author.wheel"


def test_what_the_operator_wrote_stays(answer, built: Path, project: Path) -> None:
    assert answer("plugin", "add", built, "--project", project, "--grant")[0] == 0
    file = project / "plugins.toml"
    written = file.read_text().replace('methods = ["POST"]', 'methods = ["POST"], networks = ["127.0.0.0/8"]')
    assert "networks" in written
    file.write_text(written + 'limits = { memory = "64MiB" }  # it is a small machine\n')
    assert answer("plugin", "add", built, "--project", project)[0] == 0
    assert file.read_text() == written + 'limits = { memory = "64MiB" }  # it is a small machine\n'


def test_those_who_add_at_once_do_not_write_over_each_other(built: Path, project: Path, tmp_path: Path) -> None:
    folders = [
        scaffold(new_names(f"acme-{name}"), "python", "tool", tmp_path).folder for name in ("one", "two", "three")
    ]
    command = [sys.executable, "-m", "dataflare_host", "plugin", "add", "--isolation", "inline", "--project", project]
    adding = [subprocess.Popen([*map(str, command), str(each)], stdout=subprocess.DEVNULL) for each in folders]
    assert [each.wait(120) for each in adding] == [0, 0, 0]
    assert set(tomllib.loads((project / "plugins.toml").read_text())["plugins"]) == {
        "acme-one",
        "acme-two",
        "acme-three",
    }
