"""The plugin under test: found in a wheel or a folder, and loaded as a host would load it."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dataflare import ConfigError
from dataflare.errors import Problem
from dataflare.guest.frames import Frame
from dataflare.hosting import Guests, Limits
from dataflare.testing.guests import InProcess
from dataflare_author.wheel_check import files_of, write_files
from dataflare_host import Host
from dataflare_host.manifest import FILE, Manifest
from dataflare_host.read_manifest import load_manifest
from dataflare_host.sets import ISOLATIONS, SET
from dataflare_verify.examples import Example, examples_of, wrong
from dataflare_verify.guess import guessed

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.kinds import Loader

Json = Any


@dataclass
class Subject:
    """A loaded plugin."""

    artifact: Path
    """The wheel, or the folder it was loaded from."""
    package: Path
    """The folder with its manifest."""
    project: Path
    """A folder for flows whose plugin set has this plugin."""
    manifest: Manifest
    isolation: str
    """``worker``, ``inline``, or ``sandbox`` where the runtime is one."""
    classes: list[type[Component]]
    guests: Guests
    audited: list[Problem] = field(default_factory=list)

    @property
    def limits(self) -> Limits:
        """What its manifest sets itself."""
        return Limits.of(self.manifest.limits)

    def config_schema(self, component: type[Component]) -> Mapping[str, Json]:
        """The JSON Schema of a component's configuration."""
        from dataflare.config import json_schema

        return json_schema(component)

    def input_schema(self, tool: type[Component]) -> Mapping[str, Json]:
        """The JSON Schema of a tool's input."""
        from dataflare.config import input_schema

        return input_schema(tool)

    def examples(self, component: type[Component]) -> list[Example]:
        """What a component is tried on: by ``verify.toml``, else guessed. Raises ConfigError ``verify.examples``."""
        told = [each for each in examples_of(self.package) if each.component == _id(component)]
        return told or [guessed(component, self.config_schema(component))]

    def check_examples(self) -> None:
        """Raises ConfigError where ``verify.toml`` tells of components that are not there."""
        known = {_id(made) for made in self.classes}
        for each in examples_of(self.package):
            if each.component not in known:
                place = f"/{each.kind}/{each.name}"
                raise wrong(self.package / "verify.toml", place, f"the plugin has no `{each.component}`")

    def ask(self, **header: Json) -> Frame:
        """A guest's answer to one request, by frames."""
        transport = self.guests.take()
        try:
            answer = transport.call(Frame(header), _refuse, 30.0)
        except BaseException:
            transport.close()
            raise
        self.guests.give_back(transport)
        return answer


def _id(component: type[Component]) -> str:
    return f"{component.kind}:{component.spec.name}"


def _refuse(question: Frame) -> Frame:
    problem = Problem("permission.denied", f"`{question.header.get('op')}` is not granted", kind="fatal")
    return Frame({"error": problem.as_json()})


@contextmanager
def opened(path: Path, isolation: str | None = None) -> Iterator[Subject]:
    """The plugin of a wheel, a project or a package folder, in a project of its own.

    Everything that its manifest asks for is granted there. Raises ConfigError: ``verify.no_plugin``,
    ``verify.isolation``, and whatever the manifest's reader and the loader say.
    """
    artifact = found(path)
    with tempfile.TemporaryDirectory(prefix="dataflare-verify-") as folder:
        project = Path(folder)
        package = artifact
        if artifact.is_file():
            files, _ = files_of(artifact)
            write_files(files, project / "unpacked")
            package = _package(project / "unpacked") or project / "unpacked"
        manifest = load_manifest(package / FILE, package.name)
        how = _isolation(manifest, isolation)
        write_set(project, manifest, package, how)
        with _importable(package), Host.start() as host:
            host.enter(project)
            yield _loaded(host, artifact, package, project, manifest.id, how)


def write_set(project: Path, manifest: Manifest, package: Path, isolation: str) -> None:
    """The plugin set of a folder: this one plugin, with all that it asks for."""
    grants = {
        word: [{key: value for key, value in rule.items() if key != "reason"} for rule in rules]
        for word, rules in manifest.permissions.items()
    }
    lines = [f"[plugins.{manifest.id}]", f"folder = {json.dumps(str(package.resolve()))}"]
    lines += [f'isolation = "{isolation}"'] if isolation in ISOLATIONS else []
    lines += [f"grants = {_toml(grants)}"]
    (project / SET).write_text("\n".join([*lines, ""]), "utf-8")


def found(path: Path) -> Path:
    """The wheel of a project's ``dist``, the package folder in it, or what was given itself."""
    if path.is_file() and path.suffix == ".whl":
        return path.resolve()
    wheels = sorted(path.glob("dist/*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    if wheels:
        return wheels[-1].resolve()
    made = path if (path / FILE).is_file() else _package(path)
    if made is None:
        fix = "build it first, or name a wheel or a folder with a dataflare.toml"
        raise ConfigError.of("verify.no_plugin", f"there is no plugin in `{path}`", fix=fix)
    return made.resolve()


def _package(folder: Path) -> Path | None:
    """The one folder directly in this one that has a manifest."""
    known = sorted(file.parent for pattern in (f"*/{FILE}", f"src/*/{FILE}") for file in folder.glob(pattern))
    return next((each for each in known if each.name not in ("build", "dist", "node_modules")), None)


def _isolation(manifest: Manifest, wanted: str | None) -> str:
    if manifest.runtime == "python":
        return wanted or "worker"
    if wanted is not None:
        message = f"`{manifest.id}` has the runtime `{manifest.runtime}`, which isolates it by itself"
        raise ConfigError.of("verify.isolation", message, fix="leave --isolation out")
    return "sandbox"


def _loaded(host: Host, artifact: Path, package: Path, project: Path, id: str, how: str) -> Subject:
    table = host.table()
    if id not in table.plugins:
        raise ConfigError(*(problem for each in table.faulty if each.id == id for problem in each.problems))
    manifest = table.plugins[id]
    classes = [made for _, made in sorted(table.contributions.of(manifest).items())]
    if manifest.loader == "python":
        classes = classes or [entry.load() for entry in table.entries() if entry.plugin == id]
        return Subject(artifact, package, project, manifest, how, classes, Guests(lambda: InProcess(classes)))
    for made in classes:
        guests: Guests = made.__dataflare_guests__  # type: ignore[attr-defined]
        audited = list(_loader(host, manifest).audit(package / manifest.entry, manifest))
        return Subject(artifact, package, project, manifest, how, classes, guests, audited)
    raise ConfigError.of("verify.no_plugin", f"`{id}` has no components that can be verified")


def _loader(host: Host, manifest: Manifest) -> Loader:
    entries = host.table().entries("loader", loading=False)
    uses = next(entry.uses for entry in entries if entry.name == manifest.loader)
    return cast("Loader", host.component(uses, {}, "loader"))


@contextmanager
def _importable(package: Path) -> Iterator[None]:
    """The package can be imported, and is forgotten afterwards: another version may be tried next."""
    sys.path.insert(0, str(package.parent))
    _forget(package.name)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(package.parent))
        _forget(package.name)


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]


def _toml(value: Json) -> str:
    """A value as TOML has it, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
