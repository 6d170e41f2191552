"""The golden plugins of a release, started as their loaders start them."""

from __future__ import annotations

import io
import lzma
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from plugin_js.scripts import ENGINES
from plugin_js.scripts import Guest as Script

from dataflare.guest import Frame
from dataflare.hosting import Guests, Limits, component_classes
from dataflare.hosting.transport import Transport
from dataflare_wasm.engine import engine
from dataflare_wasm.extism_guest import ExtismGuest
from dataflare_wasm.extism_module import ExtismModule
from dataflare_wasm.guest import WasmGuest
from dataflare_worker.process import Launch
from dataflare_worker.transport import ProcessTransport

RELEASES = sorted(Path(__file__).parent.glob("api-*"))
Start = Callable[[Path, Path], Transport]
"""Starts a plugin of a release; what it needs of files comes into a folder."""


@cache
def golden(release: Path, name: str) -> bytes:
    """A file of a release."""
    return lzma.decompress((release / f"{name}.xz").read_bytes())


def go(release: Path, folder: Path) -> Transport:
    """The module as the loader `wasm` starts it."""
    (folder / "plugin.wasm").write_bytes(golden(release, "go.wasm"))
    return WasmGuest(engine(), engine().module(folder / "plugin.wasm"), Limits(), "golden")


def extism(release: Path, folder: Path) -> Transport:
    """The module as the loader `extism` starts it."""
    (folder / "plugin.wasm").write_bytes(golden(release, "extism.wasm"))
    return ExtismGuest(ExtismModule(folder / "plugin.wasm", Limits()), Limits(), "golden")


def python(release: Path, folder: Path) -> Transport:
    """The module as a worker runs it: in an environment with the SDK of that release, where that was kept."""
    with zipfile.ZipFile(io.BytesIO(golden(release, "python.zip"))) as archive:
        archive.extractall(folder)
    made = Path(sys.executable)
    if (release / "python-sdk.zip.xz").exists():
        made = environment(golden(release, "python-sdk.zip"), folder / "environment")
    return ProcessTransport(Launch("golden", made, ["guest_plugin"], [folder]))


def environment(sdk: bytes, folder: Path) -> Path:
    """The Python of an environment with this SDK, and all else as it is here."""
    venv.create(folder, symlinks=True)
    here = sysconfig.get_paths()["purelib"]
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    with zipfile.ZipFile(io.BytesIO(sdk)) as archive:
        archive.extractall(packages)
    (packages / "here.pth").write_text(here, "utf-8")
    return folder / "bin" / "python"


def script(name: str) -> Callable[[Path, Path], Transport]:
    """The script as the loader `js` starts it, in an engine."""

    def start(release: Path, _folder: Path) -> Transport:
        return Script(name, golden(release, "plugin.js").decode(), Limits(), None, "golden").transport

    return start


STARTS: dict[str, Start] = {"go": go, "extism": extism, "python": python, **{name: script(name) for name in ENGINES}}


def hosted(start: Callable[[], Transport]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a guest says of itself, and its components as its host has them."""
    guests = Guests(start)
    guest = guests.take()
    described = guest.call(Frame({"op": "describe"}), lambda question: question, 60).header
    guests.give_back(guest)
    made = component_classes(described, guests, Limits(), "golden")
    return described, {f"{each.kind}:{each.spec.name}": each for each in made}
