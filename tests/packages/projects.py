"""Wheels, an index and projects for the tests of locks."""

from __future__ import annotations

import hashlib
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from pathlib import Path

Files = dict[str, bytes]


def wheel(
    folder: Path,
    id: str,
    version: str = "1.0.0",
    needs: Mapping[str, str] = {},
    asks: str = "",
    change: Callable[[Files], object] = lambda files: None,
) -> Path:
    """The wheel of a plugin without code; ``asks``: lines of its manifest's permissions, ``change`` is done last."""
    package = f"dataflare_{id.replace('-', '_')}"
    info = f"{package}-{version}.dist-info"
    manifest = f"""
schema = 1
[plugin]
id = "{id}"
version = "{version}"
summary = "For tests."
license = "Apache-2.0"
[api]
requires = ">=1.0,<2"
[runtime]
kind = "declarative"
[components.processor]
few = {{ uses = "std/filter", with = {{ where = "n > 1" }} }}
"""
    manifest += "".join(["\n[dependencies]\n", *(f'{name} = "{wanted}"\n' for name, wanted in needs.items())])
    manifest += f"\n[permissions]\n{asks}\n" if asks else ""
    files = {
        f"{package}/dataflare.toml": manifest.encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: dataflare-{id}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[dataflare.plugins]\n{id} = {package}\n".encode(),
    }
    lines = [f"{name},{digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()
    change(files)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def digest(data: bytes) -> str:
    """As RECORD says it."""
    return f"sha256={urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()}"


def wants(project: Path, *lines: str) -> None:
    """Write wishes into a project's set, in place of those it had."""
    file = project / "plugins.toml"
    text = file.read_text() if file.exists() else ""
    head = text.partition("\n[plugins.")[0].rstrip("\n")
    file.write_text(head + "".join(f"\n[plugins.{line.replace(': ', ']' + chr(10), 1)}\n" for line in lines))
