"""The plugins below ``examples/plugins``, built in a folder of their own as their authors build them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import node_packages

from dataflare_author.building import build
from dataflare_author.folder import folder_at
from dataflare_author.sdks import copy_sdk
from dataflare_host import Host

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "examples" / "plugins"
NAMES = sorted(path.name for path in PLUGINS.iterdir() if path.is_dir() and not path.name.startswith("."))
_LEFT_OUT = shutil.ignore_patterns("build", "dist", "node_modules", "__pycache__", "sdk", "out", ".dataflare")


def copied(name: str, within: Path) -> Path:
    """The sources of a plugin, with a copy of the SDK where its language has one."""
    folder = within / name
    shutil.copytree(PLUGINS / name, folder, ignore=_LEFT_OUT)
    if (folder / "go.mod").exists():
        copy_sdk("go", folder / "sdk")
        _point(folder / "go.mod", "../../../sdk-go")
    if (folder / "package.json").exists():
        copy_sdk("js", folder / "sdk")
        _point(folder / "package.json", "../../../sdk-js")
        node_packages.install(folder)
    return folder


def wheel(folder: Path) -> Path:
    """Build it."""
    with Host.start() as host:
        return build(folder_at(folder), host).wheel


def described(path: Path) -> list[str]:
    """The components that a wheel says it has: ``kind name``."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/components.json"))
        return [f"{each['kind']} {each['name']}" for each in json.loads(archive.read(name))["components"]]


def _point(file: Path, sdk: str) -> None:
    """Let it use the copy of the SDK."""
    file.write_text(file.read_text("utf-8").replace(sdk, "./sdk"), "utf-8")
