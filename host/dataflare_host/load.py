"""From a name to a component class: the code of a plugin is imported here, and only when it is needed."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable, Mapping
from types import new_class
from typing import TYPE_CHECKING, Any

from dataflare.declare import component_class, normalise
from dataflare.errors import ConfigError
from dataflare.loading import Classes, by_name, load_failed

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.manifest import Manifest


def object_at(target: str, manifest: Manifest) -> Any:
    """The object that ``module:object`` of a manifest names. Raises ConfigError (``plugin.load_failed``)."""
    module, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for name in path.split(".") if path else ():
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise load_failed(
            "plugin.load_failed", f"`{target}` of the plugin `{manifest.id}` cannot be loaded", error
        ) from error
    return found


def class_at(target: str, manifest: Manifest, kind: str) -> type[Component]:
    """The component class that a manifest's table names. Raises ConfigError where there is none of that kind."""
    found = component_class(object_at(target, manifest))
    if found is None or found.kind != kind:
        what = "not a component" if found is None else f"a {found.kind}, not a {kind}"
        message = f"`{target}` of the plugin `{manifest.id}` is {what}"
        fix = "let the table name a decorated function or a component class of that kind"
        place = {"file": manifest.file, "pointer": f"/components/{kind}"}
        raise ConfigError.of("plugin.table_wrong", message, fix=fix, **place)
    return found


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


class Contributions:
    """What plugins contribute beyond their tables, asked for once and kept: entry modules, hooks, loaders.

    ``dynamic`` gives what the hook ``components`` of a plugin answers, ``guests`` asks the loader of its runtime.
    """

    def __init__(
        self,
        dynamic: Callable[[Manifest], Iterable[Any]],
        guests: Callable[[Manifest], Iterable[type[Component]]],
        known: Mapping[str, Classes] = {},
    ) -> None:
        self._dynamic = dynamic
        self._guests = guests
        self._known = dict(known)
        self._lock = threading.RLock()

    def without(self, changed: Iterable[str]) -> Contributions:
        """Those of the next generation: what these plugins contribute is asked anew."""
        gone = set(changed)
        with self._lock:
            kept = {id: classes for id, classes in self._known.items() if id not in gone}
        return Contributions(self._dynamic, self._guests, kept)

    def end(self, newer: Contributions) -> None:
        """End the guests that only this generation has."""
        from dataflare.hosting import release

        with self._lock, newer._lock:
            gone = [classes for id, classes in self._known.items() if newer._known.get(id) is not classes]
        for classes in gone:
            release(classes.values())

    def of(self, manifest: Manifest) -> Classes:
        """The component classes of a plugin that its table alone does not give. Raises ConfigError."""
        with self._lock:
            if manifest.id not in self._known:
                self._known[manifest.id] = self._ask(manifest)
            return self._known[manifest.id]

    def _ask(self, manifest: Manifest) -> Classes:
        found: dict[tuple[str, str], type[Component]] = {}
        if manifest.loader == "python":
            if manifest.components is None:
                found.update(classes_of_entry(manifest))
        elif manifest.runtime != "declarative":
            found.update(by_name(self._guests(manifest)))
        if "components" in manifest.hooks:
            found.update(by_name(self._dynamic(manifest)))
        return found
