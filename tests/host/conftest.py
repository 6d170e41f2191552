"""Plugins made for a test: installed into a folder of the path, as a wheel would be."""

import os
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest

MANIFEST = """\
schema = 1
[plugin]
id = "{id}"
version = "{version}"
summary = "A plugin of a test."
[api]
requires = ">=1.0,<2"
[runtime]
kind = "{runtime}"
entry = "{package}"
"""


class Site:
    """A folder on the path that plugins are installed into. Its time stamps lie in the past, as after a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def install(
        self,
        id: str,
        manifest: str = "",
        *,
        version: str = "1.0.0",
        runtime: str = "python",
        distribution: str | None = None,
        package: str | None = None,
        whole: bool = False,
        requires: Iterable[str] = (),
        from_index: bool = False,
        **files: str,
    ) -> Path:
        """Install a plugin; ``manifest`` is added to the usual one (``whole``: replaces it), ``files`` are modules.

        ``from_index``: as an installer leaves it that took it from an index. Gives the folder of its package.
        """
        package = package or f"testplugin_{id.replace('-', '_')}"
        name = (distribution or f"dataflare-{id}").replace("-", "_")
        metadata = self.folder / f"{name}-{version}.dist-info"
        metadata.mkdir()
        needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        if from_index:
            (metadata / "RECORD").write_text("")
        (metadata / "entry_points.txt").write_text(f"[dataflare.plugins]\n{id} = {package}\n")
        home = self.folder / package
        home.mkdir(exist_ok=True)
        usual = "" if whole else MANIFEST.format(id=id, version=version, package=package, runtime=runtime)
        (home / "dataflare.toml").write_text(usual + textwrap.dedent(manifest))
        for module, source in {"__init__": "", **files}.items():
            (home / f"{module}.py").write_text(textwrap.dedent(source))
        self.age()
        return home

    def age(self) -> None:
        """Let everything be an hour old: younger files are not cached."""
        for path in [self.folder, *self.folder.rglob("*")]:
            past = path.stat().st_mtime - 3600
            os.utime(path, (past, past))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder on the path; the modules loaded from it are forgotten afterwards."""
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.folder))
    yield made
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(made.folder)):
            del sys.modules[name]
