"""Our bundles are plugins like any other: their tables are true, and each can be deleted."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dataflare_commands.tables import verify_table
from dataflare_host.read_manifest import load_manifest

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "pyproject.toml").exists())


def project(room):
    return tomllib.loads((ROOT / room / "pyproject.toml").read_text("utf-8"))["project"]


def manifest_of(bundle):
    package = project(f"plugins/{bundle}")["entry-points"]["dataflare.plugins"][bundle]
    return load_manifest(ROOT / "plugins" / bundle / package / "dataflare.toml", package)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundles_table_is_what_its_code_has(bundle):
    assert verify_table(manifest_of(bundle)) == []


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_version_is_told_once(bundle):
    given = project(f"plugins/{bundle}")
    manifest = manifest_of(bundle)
    assert (manifest.id, manifest.version) == (bundle, given["version"])
    assert given["name"] == f"dataflare-{bundle}"


def test_the_host_has_the_version_of_its_distribution():
    from dataflare_host.manifest import VERSION

    assert project("host")["version"] == VERSION


def test_a_table_that_lies_is_found(site):
    parts = """
    from dataflare import sink, source
    @source
    def one(): yield {"n": [1]}
    @source
    def two():
        "Second."
        yield {"n": [1]}
    @sink
    def three(batch): ...
    """
    table = """
    [components.source]
    one = "testplugin_shop.parts:one"
    zwei = "testplugin_shop.parts:two"
    gone = "testplugin_shop.parts:gone"
    [summaries.source]
    zwei = "Third."
    """
    home = site.install("shop", table, parts=parts)
    found = verify_table(load_manifest(home / "dataflare.toml", "testplugin_shop"))
    assert sorted(problem.message for problem in found) == [
        "`testplugin_shop.parts:gone` of the plugin `shop` cannot be loaded",
        "`testplugin_shop.parts:two` calls itself `two`",
        "the code has the sink `three`, the table does not",
        "the code has the source `two`, the table does not",
        "the manifest says 'Third.', the code 'Second.'",
    ]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with all rooms as wheels put them, and one with everything else that is installed here."""
    rooms, rest = tmp_path_factory.mktemp("rooms"), tmp_path_factory.mktemp("rest")
    for room in ("sdk", "host", *(f"plugins/{bundle}" for bundle in BUNDLES)):
        given = project(room)
        package = next(path.parent for path in (ROOT / room).glob("*/__init__.py"))
        shutil.copytree(package, rooms / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        metadata = rooms / f"{re.sub('-', '_', given['name'])}-{given['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {given['name']}\nVersion: {given['version']}\n"
        )
        listed = [f"{id} = {value}" for id, value in given.get("entry-points", {}).get("dataflare.plugins", {}).items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[dataflare.plugins]", *listed]))
    polars = importlib.util.find_spec("polars")
    assert polars is not None
    assert polars.origin is not None
    for path in Path(polars.origin).parents[1].iterdir():
        if not path.name.startswith("dataflare"):
            (rest / path.name).symlink_to(path)
    return rooms, rest


LOAD_ALL = """
import json, os, sys
from dataflare_host import Host
def look():
    table = Host.start().table()
    for entry in table.entries():
        entry.load()
    return {
        "plugins": sorted(table.plugins),
        "entries": [f"{entry.kind}:{entry.uses}" for entry in table.entries()],
        "faulty": {each.id: each.problems[0].code for each in table.faulty},
    }
seen = [look()]
for path in sys.argv[1:]:
    os.rename(path, path + ".gone")
    seen.append(look())
print(json.dumps(seen))
"""


def look(installed, tmp_path, *removed):
    """What a host sees that starts there: at first, and after each of these folders is taken away."""
    path = os.pathsep.join(map(str, installed))
    environment = {**os.environ, "PYTHONPATH": path, "DATAFLARE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-S", "-c", LOAD_ALL, *map(str, removed)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_can_be_deleted(installed, tmp_path, bundle):
    rooms, rest = installed
    mine = manifest_of(bundle)
    folder, metadata = rooms / mine.package, next(rooms.glob(f"dataflare_{bundle}-*"))
    dependent = _dependent_on(bundle)
    rest_of_us = sorted(set(BUNDLES) - {bundle, *dependent})
    folder.rename(tmp_path / "folder")
    try:
        without_folder, uninstalled = look((rooms, rest), tmp_path, metadata)
    finally:
        (tmp_path / "folder").rename(folder)
        if not metadata.exists():
            metadata.with_name(f"{metadata.name}.gone").rename(metadata)
    assert without_folder["plugins"] == uninstalled["plugins"] == rest_of_us
    unmet = dict.fromkeys(dependent, "plugin.dependency")
    assert without_folder["faulty"] == {bundle: "plugin.package_missing", **unmet}
    assert uninstalled["faulty"] == unmet
    left = [f"{kind}:{id}/{name}" for id in rest_of_us for kind, named in _table(id) for name in named]
    assert sorted(without_folder["entries"]) == sorted(uninstalled["entries"]) == sorted(left)


def _dependent_on(bundle):
    """The bundles that need it, directly or not."""
    direct = [other for other in BUNDLES if bundle in manifest_of(other).dependencies]
    return sorted({*direct, *(more for other in direct for more in _dependent_on(other))})


def _table(bundle):
    return (manifest_of(bundle).components or {}).items()


def test_host_and_sdk_alone_start_without_any_plugin(installed, tmp_path):
    rooms, rest = installed
    alone = tmp_path / "alone"
    alone.mkdir()
    for package in ("dataflare", "dataflare_host"):
        (alone / package).symlink_to(rooms / package)
    assert look((alone, rest), tmp_path) == [{"plugins": [], "entries": [], "faulty": {}}]
