"""A Python plugin from nothing to a wheel that pip installs: each kind."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dataflare_host.read_manifest import load_manifest

KINDS = ("source", "processor", "sink", "tool")


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, answer, tmp_path: Path) -> tuple[str, Path]:
    code, told = answer("plugin", "new", "acme-thing", "--lang", "python", "--kind", request.param, "--dir", tmp_path)
    assert code == 0
    return request.param, Path(told["folder"])


def test_it_is_tested_built_and_installed(made: tuple[str, Path], answer, tmp_path: Path) -> None:
    kind, folder = made
    assert answer("plugin", "test", folder)[0] == 0
    code, told = answer("plugin", "build", folder)
    assert code == 0
    (wheel,) = told["wheels"]
    assert wheel["components"] == [f"{kind} acme-thing/acme-thing"]
    assert [path.name for path in (folder / "dist").iterdir()] == ["dataflare_acme_thing-0.1.0-py3-none-any.whl"]
    site = tmp_path / "site"
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel["wheel"]]
    subprocess.run(words, check=True, timeout=120)
    manifest = load_manifest(site / "dataflare_acme_thing" / "dataflare.toml")
    assert list(manifest.components or {}) == [kind]
    described = json.loads((site / "dataflare_acme_thing" / "components.json").read_text())
    assert [component["name"] for component in described["components"]] == ["acme-thing"]


def test_two_builds_give_the_same_bytes(made: tuple[str, Path], answer) -> None:
    _, folder = made
    digests = [answer("plugin", "build", folder)[1]["wheels"][0]["digest"] for _ in range(2)]
    assert digests[0] == digests[1]


def test_what_is_made_is_tidy(made: tuple[str, Path]) -> None:
    _, folder = made
    for words in (("check", "--select", "E,F,I,UP,B", "."), ("format", "--check", ".")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length=120"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout


def test_a_failing_test_fails_the_command(made: tuple[str, Path], answer) -> None:
    _, folder = made
    (folder / "tests" / "test_more.py").write_text("def test_it():\n    assert False\n")
    code, told = answer("plugin", "test", folder)
    assert (code, told) == (1, {"ok": False, "plugin": "acme-thing", "code": 1})


def test_code_that_cannot_be_imported_is_no_wheel(made: tuple[str, Path], answer) -> None:
    _, folder = made
    module = folder / "dataflare_acme_thing" / "__init__.py"
    module.write_text(module.read_text() + "\nimport a_module_that_is_not_there\n")
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (1, "author.describe")
    assert "a_module_that_is_not_there" in told["errors"][0]["message"]
    assert not list(folder.glob("dist/*"))


def test_a_plugin_without_a_component_is_no_wheel(made: tuple[str, Path], answer) -> None:
    _, folder = made
    (folder / "dataflare_acme_thing" / "__init__.py").write_text('"""Nothing."""\n')
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (1, "author.describe")


def test_names_and_versions_that_differ_are_told(made: tuple[str, Path], answer) -> None:
    _, folder = made
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace("0.1.0", "0.2.0"))
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"], told["errors"][0]["pointer"]) == (2, "author.project", "/project/version")


def test_what_the_code_needs_is_in_the_metadata(made: tuple[str, Path], answer) -> None:
    _, folder = made
    (wheel,) = answer("plugin", "build", folder)[1]["wheels"]
    with zipfile.ZipFile(wheel["wheel"]) as archive:
        metadata = archive.read("dataflare_acme_thing-0.1.0.dist-info/METADATA").decode()
    assert "Requires-Dist: dataflare-sdk>=1.0,<2\n" in metadata


def test_a_folder_without_a_plugin_is_told(answer, tmp_path: Path) -> None:
    code, told = answer("plugin", "build", tmp_path)
    assert (code, told["errors"][0]["code"]) == (2, "author.no_plugin")
