"""Wheels of plugins for the tests of indexes."""

from __future__ import annotations

from pathlib import Path

from wheel_files import pack, sealed

MANIFEST = """
schema = 1
[plugin]
id = "{id}"
version = "{version}"
summary = "For tests."
[api]
requires = ">=1.0,<2"
[runtime]
kind = "{runtime}"
entry = "plugin.wasm"
"""


def wheel(
    folder: Path,
    id: str,
    version: str = "1.0.0",
    content: bytes = b"\0asm",
    tag: str = "py3-none-any",
    runtime: str = "wasm",
    needs: str = "",
    table: bytes = b"",
) -> Path:
    """A wheel of a plugin. ``table``: its ``components.json``."""
    package = f"dataflare_{id.replace('-', '_')}"
    info = f"{package}-{version}.dist-info"
    asked = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{package}/dataflare.toml": MANIFEST.format(id=id, version=version, runtime=runtime).encode(),
        f"{package}/plugin.wasm": content,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: dataflare-{id}\nVersion: {version}\nRequires-Python: >=3.9\n{asked}".encode()
        ),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[dataflare.plugins]\n{id} = {package}\n".encode(),
    }
    if table:
        files[f"{package}/components.json"] = table
    return pack(folder / f"{package}-{version}-{tag}.whl", sealed(files))
