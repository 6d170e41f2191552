"""The plugin set of a folder: what its flows may use beside what is installed, and with which rights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflare import ConfigError
from dataflare_flow import Flow
from dataflare_host import Host
from dataflare_host.sets import Member, read_set

MANIFEST = """
schema = 1
[plugin]
id = "{id}"
version = "0.1.0"
[api]
requires = ">=1.0,<2"
[runtime]
kind = "{runtime}"
entry = "{entry}"
[permissions]
http = [{{ host = "*.example", reason = "test" }}]
"""
CODE = """
from dataflare import processor, Batch

@processor(cardinality="one")
def plus(batch: Batch, *, by: int = 1) -> Batch:
    "Adds to `n`."
    return batch.with_column("n", [n + by for n in batch["n"].to_pylist()])
"""


def plugin(folder: Path, id: str, runtime: str = "python", more: str = "") -> Path:
    package = folder / "plugins" / f"dataflare_{id}"
    package.mkdir(parents=True)
    entry = package.name if runtime == "python" else "plugin.bin"
    (package / "dataflare.toml").write_text(MANIFEST.format(id=id, runtime=runtime, entry=entry) + more)
    (package / "__init__.py").write_text(CODE)
    return package


def add(folder: Path, id: str, more: str = "") -> None:
    with (folder / "plugins.toml").open("a") as file:
        file.write(f'[plugins.{id}]\nfolder = "plugins/dataflare_{id}"\n{more}\n')


def test_an_inline_plugin_of_the_set_is_used_by_the_flows_of_its_folder(tmp_path: Path) -> None:
    plugin(tmp_path, "setinline")
    add(tmp_path, "setinline", 'isolation = "inline"')
    with Host.start() as host:
        with pytest.raises(ConfigError, match="no plugin `setinline`"):
            host.table().find("processor", "setinline/plus")
        host.enter(tmp_path)
        assert host.table().find("processor", "setinline/plus").load().spec.summary == "Adds to `n`."
        flow = Flow("sets", base=tmp_path)
        flow.source("made", "std/generate", columns={"n": "int(0, 9)"}, rows=3).step("plus", "setinline/plus", by=2)
        flow.sink("none", "std/null", "plus")
        assert flow.run(host=host).status == "finished"
        generation = host.table().generation
        host.enter(tmp_path)
        assert host.table().generation == generation


def test_a_python_plugin_runs_as_a_worker_where_nothing_says_inline(tmp_path: Path) -> None:
    plugin(tmp_path, "setworker", more='[hooks]\nmodule = "nowhere"\nnames = ["event"]\n')
    add(tmp_path, "setworker")
    with Host.start() as host:
        host.enter(tmp_path)
        manifest = host.table().plugins["setworker"]
        assert (manifest.loader, manifest.hooks) == ("worker", ())


def test_rights_are_what_the_manifest_asks_for_and_the_set_grants(tmp_path: Path) -> None:
    plugin(tmp_path, "setrights")
    add(tmp_path, "setrights", 'grants = { http = [{ host = "api.example" }] }\nlimits = { memory = "32MiB" }')
    with Host.start() as host:
        host.enter(tmp_path)
        assert [rule["host"] for rule in host.grants("setrights")["http"]] == ["api.example"]
        assert host.limits("setrights") == {"memory": "32MiB"}
        assert host.limits("std") == {}
    plugin(tmp_path, "setnone")
    add(tmp_path, "setnone")
    with Host.start() as host:
        host.enter(tmp_path)
        assert host.grants("setnone") == {}


def test_a_changed_set_makes_a_new_generation(tmp_path: Path) -> None:
    plugin(tmp_path, "setfirst")
    plugin(tmp_path, "setsecond")
    add(tmp_path, "setfirst", 'isolation = "inline"')
    with Host.start() as host:
        host.enter(tmp_path)
        add(tmp_path, "setsecond", 'isolation = "inline"')
        host.enter(tmp_path)
        assert {"setfirst", "setsecond"} <= set(host.table().plugins)


def test_a_member_that_cannot_be_used_says_why_and_the_others_work(tmp_path: Path) -> None:
    plugin(tmp_path, "setgood")
    add(tmp_path, "setgood", 'isolation = "inline"')
    add(tmp_path, "setgone")
    needy = plugin(tmp_path, "setneedy", more='[dependencies]\nsomething = ">=1"\n')
    assert needy.exists()
    add(tmp_path, "setneedy")
    plugin(tmp_path, "setwasm", "wasm")
    add(tmp_path, "setwasm", 'isolation = "inline"')
    with Host.start() as host:
        host.enter(tmp_path)
        assert "setgood" in host.table().plugins
        wrong = {each.id: each.problems[0].code for each in host.table().faulty}
        assert wrong == {
            "setgone": "plugin.manifest_missing",
            "setneedy": "plugin.dependency",
            "setwasm": "set.isolation",
        }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[plugins.x]\n", "set.folder"),
        ("plugins = 3\n", "set.syntax"),
        ("[plugins.x\n", "set.syntax"),
        ('[plugins.x]\nfolder = "a"\nfoldr = "b"\n', "set.unknown_key"),
        ('[plugins.x]\nfolder = "a"\nisolation = "none"\n', "set.isolation"),
        ("[plugins]\nx = 3\n", "set.folder"),
        ('[plugins.x]\nfolder = "a"\ngrants = ["http"]\n', "set.grants"),
        ('[plugins.x]\nversion = ">=1"\n', "set.not_synced"),
    ],
)
def test_mistakes_in_a_set_are_told(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "plugins.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_set(tmp_path)
    assert caught.value.code == code
    assert str(tmp_path / "plugins.toml") in str(caught.value)


def test_what_the_lock_installed_is_used_as_the_set_says(tmp_path: Path) -> None:
    held = {"version": "1.0", "folder": "a", "isolation": "worker", "grants": {"env": [{"name": "A"}]}}
    told = {"plugins": {"x": held, "left": held}, "host": {"std": "1.0"}}
    (tmp_path / ".dataflare").mkdir()
    (tmp_path / ".dataflare" / "installed.json").write_text(json.dumps(told))
    own = 'version = ">=1"\nisolation = "inline"\ngrants = { http = [{ host = "b.example" }] }'
    (tmp_path / "plugins.toml").write_text(f'[plugins.x]\n{own}\n[plugins.std]\nversion = ">=1"\n')
    found = read_set(tmp_path)
    grants = {"env": [{"name": "A"}], "http": [{"host": "b.example"}]}
    assert found.plugins == {
        "x": Member("x", tmp_path / "a", isolation="inline", grants=grants),
        "left": Member("left", tmp_path / "a", isolation="worker", grants={"env": [{"name": "A"}]}),
    }
    assert (found.named, found.inline) == ({"x", "left", "std"}, {"x"})
