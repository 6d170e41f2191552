"""Projects whose set holds Python plugins: packages with a manifest and the metadata of a wheel, written here."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent

MANIFEST = """\
schema = 1
[plugin]
id = "{id}"
version = "0.1.0"
summary = "A plugin of the tests."
[api]
requires = ">=1.0,<2"
[runtime]
kind = "python"
entry = "{package}"
{more}
"""


def add_plugin(
    project: Path, id: str, code: str, *, isolation: str = "worker", requires: Iterable[str] = (), more: str = ""
) -> Path:
    """Put a plugin with this code into a project's set, as `dataflare plugin add` leaves it; gives its package."""
    package = project / ".dataflare" / "plugins" / id / "0" / f"dataflare_{id.replace('-', '_')}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(dedent(code), "utf-8")
    manifest = MANIFEST.format(id=id, package=package.name, more=more)
    (package / "dataflare.toml").write_text(manifest, "utf-8")
    info = package.parent / f"{package.name}-0.1.0.dist-info"
    info.mkdir()
    needed = "".join(f"Requires-Dist: {each}\n" for each in ("dataflare-sdk>=1.0,<2", *requires))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dataflare-{id}\nVersion: 0.1.0\n{needed}", "utf-8")
    with open(project / "plugins.toml", "a") as file:
        file.write(f'[plugins.{id}]\nfolder = "{package.relative_to(project)}"\nisolation = "{isolation}"\n')
    return package


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, str], requires: Iterable[str] = ()) -> Path:
    """A wheel of a distribution that has these files."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in (*content, f"{info}/RECORD"))
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for place, text in content.items():
            wheel.writestr(place, text)
    return file
