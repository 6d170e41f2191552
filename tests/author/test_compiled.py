"""Plugins in Go, TypeScript and JavaScript from nothing to a wheel: each kind in each language."""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import node_packages
import pytest

LANGUAGES = ("go", "ts", "js")
KINDS = ("source", "processor", "sink", "tool")
ENTRY = {"go": "plugin.wasm", "ts": "plugin.js", "js": "plugin.js"}
PACKAGE = "dataflare_acme_thing"


def make(answer, language: str, kind: str, within: Path) -> Path:
    code, told = answer("plugin", "new", "acme-thing", "--lang", language, "--kind", kind, "--dir", within)
    assert code == 0, told
    folder = Path(told["folder"])
    if language != "go":
        node_packages.install(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_tested_built_and_installed(language: str, kind: str, answer, tmp_path: Path) -> None:
    folder = make(answer, language, kind, tmp_path)
    code, told = answer("plugin", "test", folder)
    assert code == 0
    code, told = answer("plugin", "build", folder)
    assert code == 0, told
    (wheel,) = told["wheels"]
    assert wheel["components"] == [f"{kind} acme-thing/acme-thing"]
    assert [path.name for path in (folder / "dist").iterdir()] == [f"{PACKAGE}-0.1.0-py3-none-any.whl"]
    with zipfile.ZipFile(wheel["wheel"]) as archive:
        names = set(archive.namelist())
        described = json.loads(archive.read(f"{PACKAGE}/components.json"))
    assert {f"{PACKAGE}/{name}" for name in ("dataflare.toml", "verify.toml", ENTRY[language])} < names
    assert not [name for name in names if name.endswith((".go", ".ts", ".py"))]
    assert [component["name"] for component in described["components"]] == ["acme-thing"]
    site = tmp_path / "site"
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel["wheel"]]
    subprocess.run(words, check=True, timeout=120)


@pytest.mark.parametrize("language", ["go", "ts"])
def test_the_same_sources_elsewhere_give_the_same_bytes(language: str, answer, tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        folder = make(answer, language, "tool", tmp_path / place)
        digests.append(answer("plugin", "build", folder)[1]["wheels"][0]["digest"])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_code_that_is_wrong_is_told_with_its_line(language: str, answer, tmp_path: Path) -> None:
    folder = make(answer, language, "tool", tmp_path)
    source = next(path for path in (folder / "summary.go", *folder.glob("src/plugin.*")) if path.exists())
    source.write_text(source.read_text("utf-8") + "\nthis is wrong (\n", "utf-8")
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (1, "author.build")
    assert source.name in told["errors"][0]["cause"]
    assert not list(folder.glob("dist/*"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_failing_test_fails_the_command(language: str, answer, tmp_path: Path) -> None:
    folder = make(answer, language, "tool", tmp_path)
    if language == "go":
        code = 'package main\n\nimport "testing"\n\nfunc TestMore(t *testing.T) { t.Error("no") }\n'
        (folder / "more_test.go").write_text(code)
    else:
        code = 'import { test } from "node:test";\n\ntest("more", () => {\n  throw new Error("no");\n});\n'
        (folder / "test" / f"more.test.{language}").write_text(code)
    code, told = answer("plugin", "test", folder)
    assert (code, told["ok"]) == (1, False)


@pytest.mark.parametrize(("language", "program"), [("go", "go"), ("ts", "node"), ("js", "npm")])
def test_a_missing_tool_is_told_before_anything_is_built(language, program, answer, tmp_path, monkeypatch) -> None:
    folder = make(answer, language, "tool", tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    for each in {"go", "node", "npm"} - {program}:
        (tools / each).symlink_to(shutil.which(each))  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(tools))
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (2, "author.tool_missing")
    assert f"`{program}`" in told["errors"][0]["message"]
    assert "install" in told["errors"][0]["fix"]
    assert not (folder / "dist").exists()


@pytest.mark.parametrize("says", ["go version go1.25.4 linux/amd64", "something else"])
def test_an_old_tool_is_told(says: str, answer, tmp_path: Path, monkeypatch) -> None:
    folder = make(answer, "go", "tool", tmp_path)
    old = tmp_path / "tools" / "go"
    old.parent.mkdir()
    old.write_text(f"#!/bin/sh\necho '{says}'\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (2, "author.tool_old")


def test_what_is_made_in_go_is_formatted(answer, tmp_path: Path) -> None:
    for kind in KINDS:
        folder = make(answer, "go", kind, tmp_path / kind)
        done = subprocess.run(["gofmt", "-l", *folder.glob("*.go")], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "")


def test_a_module_without_components_is_no_wheel(answer, tmp_path: Path) -> None:
    folder = make(answer, "js", "tool", tmp_path)
    (folder / "src" / "plugin.js").write_text("export const nothing = 1;\n")
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (1, "author.describe")


def test_a_package_that_does_not_name_its_module_is_told(answer, tmp_path: Path) -> None:
    folder = make(answer, "js", "tool", tmp_path)
    package = json.loads((folder / "package.json").read_text())
    (folder / "package.json").write_text(json.dumps({**package, "main": "src/gone.js"}))
    os.utime(folder / "package.json", (0, 0))  # older than what is installed
    code, told = answer("plugin", "build", folder)
    assert (code, told["errors"][0]["code"]) == (2, "author.project")
