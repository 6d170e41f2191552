"""From a name to a component class: the code of a plugin is imported here, and only when it is needed."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType, new_class
from typing import TYPE_CHECKING, Any

from dataflare.declare import component_class, components_in, normalise
from dataflare.errors import ConfigError, DataflareError, Problem

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.manifest import Manifest

Classes = Mapping[tuple[str, str], type["Component"]]
"""Component classes by kind and name."""
_FILES = threading.RLock()


def object_at(target: str, manifest: Manifest) -> Any:
    """The object that ``module:object`` of a manifest names. Raises ConfigError (``plugin.load_failed``)."""
    module, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split(".") if path else ():
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise _failed(
            "plugin.load_failed", f"`{target}` of the plugin `{manifest.id}` cannot be loaded", error
        ) from error
    return found


def class_at(target: str, manifest: Manifest, kind: str) -> type[Component]:
    """The component class that a manifest's table names. Raises ConfigError where there is none of that kind."""
    found = component_class(object_at(target, manifest))
    if found is None or found.kind != kind:
        what = "not a component" if found is None else f"a {found.kind}, not a {kind}"
        raise ConfigError.of(
            "plugin.table_wrong",
            f"`{target}` of the plugin `{manifest.id}` is {what}",
            file=manifest.file,
            pointer=f"/components/{kind}",
            fix="let the table name a decorated function or a component class of that kind",
        )
    return found


def by_name(classes: Iterable[Any]) -> dict[tuple[str, str], type[Component]]:
    """Classes and decorated functions by kind and name."""
    found = [made for made in map(component_class, classes) if made is not None]
    return {(made.spec.kind, made.spec.name): made for made in found}


def classes_of_entry(manifest: Manifest) -> Classes:
    """What the entry module of a Python plugin holds of the plugin's own components."""
    module = object_at(manifest.entry or manifest.package, manifest)
    package = module.__name__.partition(".")[0]
    named = [(name, component_class(value)) for name, value in vars(module).items() if not name.startswith("_")]
    return by_name(made for _, made in named if made is not None and made.__module__.partition(".")[0] == package)


def preset(base: type[Component], name: str, config: Mapping[str, Any]) -> type[Component]:
    """A component of a declarative plugin: another one with some of its configuration given."""

    def __init__(self: Any, **given: Any) -> None:
        base.__init__(self, **{**config, **given})

    body = {"__init__": __init__, "__doc__": base.__doc__, "__module__": base.__module__}
    return new_class(normalise(name).replace("-", "_"), (base,), {"name": name}, lambda space: space.update(body))


def load_file(path: Path) -> ModuleType:
    """The module of a bare file, under a name of its own; the same content is run once.

    Raises ConfigError: ``plugin.file_missing``, ``plugin.file_unreadable``, ``plugin.file_failed`` with file and line.
    """
    import hashlib

    path = path.resolve()
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError.of("plugin.file_missing", f"there is no file `{path}`", fix="check the path") from None
    except OSError as error:
        raise ConfigError.of("plugin.file_unreadable", f"`{path}` cannot be read", cause=str(error)) from error
    # By content, not by time stamp: an edit within the clock's grain must not go unseen.
    digest = hashlib.sha256(bytes(path) + b"\0" + source).hexdigest()
    name = f"dataflare_file_{digest[:16]}"
    with _FILES:
        if name in sys.modules:
            return sys.modules[name]
        module = ModuleType(name)
        module.__file__ = str(path)
        module.__dict__["__version__"] = f"0+{hashlib.sha256(source).hexdigest()[:12]}"
        sys.modules[name] = module
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, (Exception, SystemExit)):
                raise
            raise _failed("plugin.file_failed", f"`{path.name}` cannot be loaded", error, str(path)) from error
    return module


def classes_of_file(path: Path) -> Classes:
    """The components that a bare file defines."""
    return by_name(components_in(load_file(path)))


def verify_table(manifest: Manifest) -> list[Problem]:
    """Where a Python plugin's component table and its code differ; imports every module of the package."""
    table = {
        (kind, name): str(target)
        for kind, listed in (manifest.components or {}).items()
        for name, target in listed.items()
    }
    problems: list[Problem] = []

    def differ(message: str, kind: str, name: str) -> None:
        pointer = f"/components/{kind}/{name}"
        problems.append(Problem("plugin.table_differs", message, file=manifest.file, pointer=pointer))

    try:
        modules = _modules(manifest)
    except ConfigError as error:
        return list(error.problems)
    defined = by_name(made for module in modules for made in components_in(module))
    for kind, name in defined.keys() - table.keys():
        differ(f"the code has the {kind} `{name}`, the table does not", kind, name)
    for (kind, name), target in table.items():
        try:
            made = class_at(target, manifest, kind)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if made.spec.name != name:
            differ(f"`{target}` calls itself `{made.spec.name}`", kind, name)
        told = manifest.summaries.get(kind, {}).get(name)
        if told is not None and told != made.spec.summary:
            differ(f"the manifest says {told!r}, the code {made.spec.summary!r}", kind, name)
    return problems


def _modules(manifest: Manifest) -> list[ModuleType]:
    """All modules of a plugin's package, imported."""
    import pkgutil

    package = object_at(manifest.package, manifest)
    found = pkgutil.walk_packages(package.__path__, f"{manifest.package}.")
    return [package, *(object_at(each.name, manifest) for each in found)]


class Contributions:
    """What plugins contribute beyond their tables, asked for once and kept: entry modules, hooks, loaders.

    ``dynamic`` gives what the hook ``components`` of a plugin answers, ``guests`` asks the loader of its runtime.
    """

    def __init__(
        self,
        dynamic: Callable[[Manifest], Iterable[Any]],
        guests: Callable[[Manifest], Iterable[type[Component]]],
    ) -> None:
        self._dynamic = dynamic
        self._guests = guests
        self._known: dict[str, Classes] = {}
        self._lock = threading.RLock()

    def of(self, manifest: Manifest) -> Classes:
        """The component classes of a plugin that its table alone does not give. Raises ConfigError."""
        with self._lock:
            if manifest.id not in self._known:
                self._known[manifest.id] = self._ask(manifest)
            return self._known[manifest.id]

    def _ask(self, manifest: Manifest) -> Classes:
        found: dict[tuple[str, str], type[Component]] = {}
        if manifest.runtime == "python":
            if manifest.components is None:
                found.update(classes_of_entry(manifest))
        elif manifest.runtime != "declarative":
            found.update(by_name(self._guests(manifest)))
        if "components" in manifest.hooks:
            found.update(by_name(self._dynamic(manifest)))
        return found


def _failed(code: str, message: str, error: BaseException, file: str | None = None) -> ConfigError:
    """The error of code that could not be loaded, at the last line that ran (in ``file``, where given)."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file in (None, frame.filename)]
    spot: dict[str, Any] = {"file": file}
    if isinstance(error, SyntaxError):
        spot = {"file": error.filename, "line": error.lineno, "column": error.offset}
    elif frames:
        spot = {"file": frames[-1].filename, "line": frames[-1].lineno}
    if isinstance(error, DataflareError):
        return ConfigError(*(problem if problem.file else problem.at(**spot) for problem in error.problems))
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return ConfigError(Problem(code, message, cause=cause, fix="mend that line, then try again", **spot))
