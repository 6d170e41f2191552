"""A plugin's folder: where its manifest is, which language it is in, what will be in its wheel."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_author.names import Names
from dataflare_host.manifest import FILE

if TYPE_CHECKING:
    from dataflare_host.manifest import Manifest


@dataclass(frozen=True)
class Folder:
    """The sources of one plugin. ``language``: ``python``, ``go`` or ``js`` (TypeScript too)."""

    path: Path
    manifest_file: Path
    manifest: Manifest
    language: str

    @property
    def names(self) -> Names:
        """The names made from its id."""
        return Names(self.manifest.id)

    @property
    def wheel(self) -> Path:
        """Where its wheel is, once it is built."""
        return self.path / "dist" / self.names.wheel(self.manifest.version)

    @property
    def stage(self) -> Path:
        """Where the package of its wheel is put together."""
        return self.path / "build" / self.names.package

    def project(self) -> dict[str, Any]:
        """The table ``project`` of its ``pyproject.toml``; empty without one. Raises ConfigError ``author.project``."""
        file = self.path / "pyproject.toml"
        if not file.exists():
            return {}
        try:
            return dict(tomllib.loads(file.read_text("utf-8")).get("project", {}))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            message = f"`{file.name}` is not valid TOML: {error}"
            raise ConfigError.of("author.project", message, file=str(file), fix="correct the line") from error


def folder_at(path: Path) -> Folder:
    """The plugin in a folder. Raises ConfigError: ``author.no_plugin``, what is wrong with its manifest."""
    from dataflare_host.read_manifest import load_manifest

    path = path.absolute()
    file = _manifest_in(path)
    manifest = load_manifest(file)
    return Folder(path, file, manifest, _language(path, file, manifest.runtime))


def _manifest_in(path: Path) -> Path:
    """A plugin's manifest lies in its folder or, where that is a Python project, in its package."""
    found = [file for file in (path / FILE, *sorted(path.glob(f"*/{FILE}"))) if file.is_file()]
    found = [file for file in found if file.parent.name not in ("build", "dist", "node_modules")]
    if len(found) == 1 or (found and found[0].parent == path):
        return found[0]
    if found:
        message = f"`{path}` holds several plugins"
        named = ", ".join(f"`{file.parent.name}`" for file in found)
        raise ConfigError.of("author.no_plugin", message, cause=f"there are {named}", fix="name one of them")
    message = f"`{path}` is no plugin's folder" if path.is_dir() else f"there is no folder `{path}`"
    fix = "name the folder that `dataflare plugin new` made"
    cause = f"neither it nor a package in it has a {FILE}" if path.is_dir() else None
    raise ConfigError.of("author.no_plugin", message, cause=cause, file=str(path), fix=fix)


def _language(path: Path, file: Path, runtime: str) -> str:
    if runtime == "python":
        return "python"
    if runtime in ("wasm", "extism") and (path / "go.mod").exists():
        return "go"
    if runtime == "js" and (path / "package.json").exists():
        return "js"
    wanted = {"wasm": "go.mod", "extism": "go.mod", "js": "package.json"}.get(runtime)
    cause = f"there is no `{wanted}` beside it" if wanted else f"the runtime is `{runtime}`"
    raise ConfigError.of(
        "author.language",
        f"nobody here builds the plugin in `{path}`",
        cause=cause,
        file=str(file),
        pointer="/runtime/kind",
        fix="plugins in Python, Go (go.mod) and JavaScript (package.json) are built here",
    )
