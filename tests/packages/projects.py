"""Wheels, an index and projects for the tests of locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from wheel_files import Files, pack, sealed, unpacked

SAY = """
import dataflare as df
import greeting

@df.processor(each="row", adds={"said": str})
def say(row: dict) -> dict:
    return {**row, "said": greeting.word}
"""
"""A processor that says what the distribution `greeting` has."""
FLOW = """
version: 1
name: said
sources: {in: {uses: std/files, with: {path: in.jsonl}}}
steps: {say: {uses: hello/say, from: in}}
sinks: {out: {uses: std/files, from: say, with: {path: out.jsonl}}}
"""
"""One that uses it."""


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
    }
    return packed(folder, f"{package}-{version}", files, change, plugin=id)


def python_wheel(folder: Path, id: str, version: str = "1.0.0", code: str = "", requires: Iterable[str] = ()) -> Path:
    """The wheel of a plugin in Python: the processor `say` is the function of that name in ``code``."""
    package = f"dataflare_{id.replace('-', '_')}"
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
kind = "python"
entry = "{package}"
[components.processor]
say = "{package}:say"
"""
    files = {f"{package}/dataflare.toml": manifest.encode(), f"{package}/__init__.py": code.encode()}
    return packed(folder, f"{package}-{version}", files, plugin=id, requires=["dataflare-sdk>=1.0,<2", *requires])


def other_wheel(folder: Path, name: str, version: str, code: str = "", requires: Iterable[str] = ()) -> Path:
    """The wheel of a distribution that is no plugin: a module of its name."""
    return packed(folder, f"{name}-{version}", {f"{name}.py": code.encode()}, requires=requires)


def packed(
    folder: Path,
    stem: str,
    files: Files,
    change: Callable[[Files], object] = lambda files: None,
    plugin: str = "",
    requires: Iterable[str] = (),
) -> Path:
    """A wheel of these files; what is missing of metadata is added, ``change`` is done last."""
    name, _, version = stem.rpartition("-")
    info = f"{stem}.dist-info"
    needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n{needed}"
    files.setdefault(f"{info}/METADATA", metadata.encode())
    files.setdefault(
        f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    if plugin:
        files[f"{info}/entry_points.txt"] = f"[dataflare.plugins]\n{plugin} = {name}\n".encode()
    files = sealed(files)
    change(files)
    return pack(folder / f"{stem}-py3-none-any.whl", files)


def repacked(made: Path, change: Callable[[Files], object]) -> Path:
    """The wheel with other files, and a RECORD that is true again."""
    files = unpacked(made)
    change(files)
    return pack(made, sealed(files))


def wants(project: Path, *lines: str) -> None:
    """Write wishes into a project's set, in place of those it had."""
    file = project / "plugins.toml"
    text = file.read_text() if file.exists() else ""
    head = text.partition("\n[plugins.")[0].rstrip("\n")
    file.write_text(head + "".join(f"\n[plugins.{line.replace(': ', ']' + chr(10), 1)}\n" for line in lines))


def greetings(shelf: Path, *versions: str) -> None:
    """Wheels of `greeting`, whose word is its version, and of what it needs."""
    for version in versions:
        other_wheel(shelf, "greeting", version, f"word = {version!r}\n", ["lower>=1", "dataflare-sdk"])
    other_wheel(shelf, "lower", "1.0")
