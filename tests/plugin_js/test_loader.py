"""JavaScript plugins in flows, and what the loader says of those that it cannot load."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugin_js.scripts import ENGINES, FRAMES, answering, doing, plugin_folder

from dataflare.errors import ConfigError
from dataflare.hosting import GuestLost
from dataflare_host.manifest import Manifest
from dataflare_host.read_manifest import load_manifest
from dataflare_js.build import cached
from dataflare_js.engines import MEMORY, choose
from dataflare_js.loader import JavaScript

MODULE = """\
import { processor, sink, source, t, tool } from "@dataflare/sdk";

export const numbers = source({
  doc: "Whole numbers from zero.",
  config: t.Object({ count: t.Integer({ default: 10 }) }),
  rows: t.Object({ n: t.Integer() }),
  start: 0,
  *read(position, { count }) {
    for (let n = position; n < count; n += 4) {
      const end = Math.min(n + 4, count);
      yield [Array.from({ length: end - n }, (_, i) => ({ n: n + i })), end];
    }
  },
});

export const squares = processor({
  doc: "Adds the square of n; refuses 3.",
  config: t.Object({}),
  input: t.Object({ n: t.Integer() }),
  adds: t.Object({ square: t.Integer() }),
  async process(batch) {
    await Promise.resolve();
    console.log(`squares of ${batch.rows.length} rows`);
    return batch.reject(({ n }) => n === 3, "three", "n is 3").map((row) => ({ ...row, square: row.n * row.n }));
  },
});

export const spin = processor({
  doc: "Never ends.",
  config: t.Object({}),
  adds: t.Object({}),
  process() {
    for (;;);
  },
});

export const seconds = tool({
  doc: "How long since then.",
  input: t.Object({ then: t.Number() }),
  call: ({ then }) => Date.now() / 1000 - then,
});
"""
FLOW = """
version: 1
name: squares
sources:
  numbers: {uses: shapes/numbers, with: {count: 10}}
steps:
  squares: {uses: shapes/%s, from: numbers}
sinks:
  out: {uses: std/files, from: squares, with: {path: out.jsonl}}
"""


@pytest.fixture(scope="module")
def script(bundled: Callable[[str], Path]) -> str:
    return bundled(MODULE).read_text("utf-8")


@pytest.fixture
def project(tmp_path: Path, script: str) -> Path:
    """A folder of flows whose plugin set holds `shapes`."""
    home = plugin_folder(tmp_path / "plugins", "shapes", script, more='[limits]\nwall_per_batch = "1s"\n')
    (tmp_path / "plugins.toml").write_text(f'[plugins.shapes]\nfolder = "plugins/{home.name}"\n', "utf-8")
    return tmp_path


def dataflare(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dataflare_host", *words]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flow_runs_a_plugin_in_either_engine(project: Path, engine: str) -> None:
    (project / "flow.yaml").write_text(FLOW % "squares", "utf-8")
    with (project / "plugins.toml").open("a") as file:
        file.write(f'[loaders.js]\nengine = "{engine}"\n')
    done = dataflare(project, "run", "flow.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert rows == [{"n": n, "square": n * n} for n in range(10) if n != 3]


@pytest.fixture(scope="module")
def unable(script: str) -> str:
    """The script where it cannot make its own copy of the SDK."""
    return f"Function = undefined;\n{script}"


def test_the_large_engine_holds_the_sdk_that_a_plugin_was_bundled_with(
    make: Callable[..., Manifest], unable: str
) -> None:
    assert "processor:squares" in components(make(unable), "starling")


def test_a_plugin_takes_the_sdk_from_nowhere_else(make: Callable[..., Manifest], unable: str) -> None:
    with pytest.raises(GuestLost, match="constructor"):
        components(make(unable.replace("dataflare.sdks", "no.sdks")), "starling")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plugin_that_was_bundled_with_another_sdk_brings_its_own(
    make: Callable[..., Manifest], script: str, engine: str
) -> None:
    key = re.search(r'"dataflare\.sdks"\)\]\?\.\["?(\w+)|"dataflare\.sdks"\)\]\?\.(\w+)', script)
    assert key is not None, script[:2000]
    other = script.replace(key[1] or key[2], "of_another_release")
    assert "processor:squares" in components(make(other), engine)


def test_a_flow_with_a_script_that_never_ends_fails_and_says_which(project: Path) -> None:
    (project / "flow.yaml").write_text(FLOW % "spin", "utf-8")
    done = dataflare(project, "run", "flow.yaml", "--json", DATAFLARE_JS_ENGINE="quickjs")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "guest.timeout" in said
    assert "`shapes` was lost in `process` of `processor:spin`" in said


class Operator:
    """A host as far as a loader asks it: what the operator says of a plugin's limits."""

    def __init__(self, **limits: Any) -> None:
        self._limits = limits

    def limits(self, plugin: str) -> dict[str, Any]:
        return self._limits


def components(manifest: Manifest, engine: str | None = None, **limits: Any) -> dict[str, Any]:
    loader = JavaScript() if engine is None else JavaScript(engine=engine)
    found = loader.components(manifest, Operator(**limits))  # type: ignore[arg-type]
    return {f"{each.kind}:{each.spec.name}": each for each in found}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Manifest]:
    """Makes a plugin, and gives its manifest."""

    def made(script: str, **more: Any) -> Manifest:
        return load_manifest(plugin_folder(tmp_path, "shapes", script, **more) / "dataflare.toml", "dataflare_shapes")

    return made


DESCRIBED = {
    "protocol": 1,
    "encodings": ["json"],
    "components": [{"kind": "tool", "name": "add", "summary": "Adds.", "config": {"type": "object"}}],
}


def test_no_script_is_started_where_the_build_told_its_components(make: Callable[..., Manifest]) -> None:
    manifest = make("throw new Error('started');", described=DESCRIBED)
    assert list(components(manifest)) == ["tool:add"]


def test_a_script_is_asked_where_the_build_told_nothing(make: Callable[..., Manifest], script: str) -> None:
    assert set(components(make(script))) == {"source:numbers", "processor:squares", "processor:spin", "tool:seconds"}


def test_an_error_in_place_of_a_description_is_told(make: Callable[..., Manifest]) -> None:
    manifest = make(doing('return pack({ error: { code: "a.b", message: "not today", kind: "config" } });'))
    with pytest.raises(ConfigError, match="not today"):
        components(manifest)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plugin_that_may_have_too_little_memory_is_refused(make: Callable[..., Manifest], engine: str) -> None:
    manifest = make(answering("1"), described=DESCRIBED, more='[limits]\nmemory = "1GiB"\n')
    least = MEMORY[engine].least
    assert components(manifest, engine, memory=least)
    with pytest.raises(ConfigError) as caught:
        components(manifest, engine, memory=least - 1)
    assert caught.value.code == "js.memory"


def test_the_small_engine_works_in_what_it_needs_at_least(make: Callable[..., Manifest], script: str) -> None:
    assert len(components(make(script), "quickjs", memory=MEMORY["quickjs"].least)) == 4


AUDITED = {
    "let a = ;": "SyntaxError",
    "exports.handle = 1;": "no function `handle`",
    'require("fs"); exports.handle = () => 1;': "require",
}


@pytest.mark.parametrize("script", AUDITED)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_audit_finds_a_script_that_does_not_load(make: Callable[..., Manifest], script: str, engine: str) -> None:
    manifest = make(script)
    (problem,) = JavaScript(engine=engine).audit(Path(manifest.file).with_name("plugin.js"), manifest)
    assert problem.code == "guest.trap"
    assert AUDITED[script] in (problem.cause or "")


def test_an_audit_passes_a_plugin(make: Callable[..., Manifest], script: str) -> None:
    manifest = make(script)
    assert list(JavaScript().audit(Path(manifest.file).with_name("plugin.js"), manifest)) == []


def test_files_that_are_no_scripts_are_refused(make: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make(FRAMES)
    file = Path(manifest.file).with_name("plugin.js")
    for content, code in ((b"\xff\xfe", "js.encoding"), (b"/" * 2000, "js.too_large"), (None, "js.missing")):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        monkeypatch.setattr("dataflare_js.loader.LARGEST", 1000)
        assert [problem.code for problem in JavaScript().audit(file, manifest)] == [code]
        file.touch()


def test_an_entry_outside_of_the_plugin_is_refused(make: Callable[..., Manifest], tmp_path: Path) -> None:
    (tmp_path / "other.js").write_text("exports.handle = () => 1;", "utf-8")
    manifest = make("")
    text = Path(manifest.file).read_text("utf-8").replace('"plugin.js"', '"../other.js"')
    Path(manifest.file).write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        components(load_manifest(Path(manifest.file), "dataflare_shapes"))
    assert caught.value.code == "plugin.entry_outside"


def test_a_script_that_is_broken_is_told_when_it_is_needed(make: Callable[..., Manifest]) -> None:
    with pytest.raises(GuestLost, match="`shapes` was lost in `start`"):
        components(make("let a = ;"))


def test_an_operator_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAFLARE_JS_ENGINE", raising=False)
    assert choose().name == "starling"
    monkeypatch.setenv("DATAFLARE_JS_ENGINE", "quickjs")
    assert choose().name == "quickjs"
    assert choose("starling").name == "starling"
    monkeypatch.setenv("DATAFLARE_JS_ENGINE", "v8")
    with pytest.raises(ConfigError) as caught:
        choose()
    assert caught.value.code == "js.unknown_engine"


def test_without_an_engine_the_loader_says_how_to_get_one(
    make: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = cached("quickjs").read_bytes()
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("dataflare_js.engines.__file__", str(tmp_path / "engines.py"))  # nor in the wheel
    with pytest.raises(ConfigError) as caught:
        components(make(FRAMES, described=DESCRIBED))
    (problem,) = caught.value.problems
    assert problem.code == "js.no_engine"
    assert "python -m dataflare_js.build" in (problem.fix or "")
    cached("quickjs").parent.mkdir(parents=True)
    cached("quickjs").write_bytes(small)
    assert choose().name == "quickjs"
