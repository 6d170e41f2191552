"""Calling hooks: each plugin's module is imported at the first call, and no plugin's fault reaches another."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare_host.load import object_at

if TYPE_CHECKING:
    import pluggy

    from dataflare_host.manifest import Manifest

_PREFIX = "dataflare_"
_log = logging.getLogger("dataflare.hooks")


def _problems(value: Any) -> list[Problem]:
    found = list(value)
    wrong = [each for each in found if not isinstance(each, Problem)]
    if wrong:
        raise TypeError(f"expected problems, got {wrong[0]!r}")
    return found


def _health(value: Any) -> tuple[bool, str]:
    well, why = value
    return bool(well), str(why)


# Checked where the fault is caught: a generator runs, and fails, only when it is read.
_SHAPES: Mapping[str, Callable[[Any], Any]] = {
    "check_install": _problems,
    "check_plan": _problems,
    "doctor": _problems,
    "health": _health,
    "components": list,
}


@dataclass(frozen=True)
class Answer:
    """What one plugin's hook gave: a value, or the problem that it failed with."""

    plugin: str
    value: Any = None
    problem: Problem | None = None


class Hooks:
    """The hooks that the manifests of a generation declare. Thread-safe."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self.faults: Counter[tuple[str, str]] = Counter()
        """How often each (plugin, hook) failed."""
        self.last: dict[tuple[str, str], Problem] = {}
        """Its newest problem."""
        self._declared: dict[str, list[Manifest]] = {}
        self._broken: dict[str, Problem] = {}
        self._manager: pluggy.PluginManager | None = None
        self._history: dict[str, Mapping[str, Any]] = {}
        self._lock = threading.RLock()
        self.update(manifests)

    def update(self, manifests: Iterable[Manifest]) -> None:
        """Take a new generation's manifests; plugins that come new are told what is historic."""
        manifests = list(manifests)
        with self._lock:
            known = {manifest.id for listed in self._declared.values() for manifest in listed}
            self._declared, self._broken, self._manager = {}, {}, None
            for manifest in manifests:
                for name in manifest.hooks:
                    self._declared.setdefault(name, []).append(manifest)
        for name, given in self._history.items():
            list(self._answers([each for each in self._declared.get(name, ()) if each.id not in known], name, given))

    def call(self, name: str, **given: Any) -> list[Answer]:
        """Every plugin's answer, without those that said nothing. Never raises."""
        return list(self._answers(self._declared.get(name, ()), name, given))

    def historic(self, name: str, **given: Any) -> list[Answer]:
        """Like ``call``; plugins that come later are told too."""
        self._history[name] = given
        return self.call(name, **given)

    def of_plugin(self, manifest: Manifest, name: str, **given: Any) -> Any:
        """One plugin's answer. Raises ConfigError where it failed."""
        answer = next(self._answers([manifest], name, given), Answer(manifest.id))
        if answer.problem is not None:
            raise ConfigError(answer.problem)
        return answer.value

    def first(self, name: str, **given: Any) -> Answer | None:
        """The first answer; nobody after it is asked."""
        return next(self._answers(self._declared.get(name, ()), name, given), None)

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def _answers(self, manifests: Iterable[Manifest], name: str, given: Mapping[str, Any]) -> Iterator[Answer]:
        answers = (self._ask(manifest, name, given) for manifest in manifests)
        return (answer for answer in answers if answer.value is not None or answer.problem is not None)

    def _ask(self, manifest: Manifest, name: str, given: Mapping[str, Any]) -> Answer:
        try:
            implementation = self._implementation(manifest, name)
            wanted = [given[argument] for argument in implementation.argnames]
            value = implementation.function(*wanted)
            return Answer(manifest.id, _SHAPES[name](value) if value is not None and name in _SHAPES else value)
        except ConfigError as error:
            problem = error.problems[0]
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            message = f"the hook `{name}` of the plugin `{manifest.id}` failed"
            fix = f"mend or uninstall `{manifest.id}`"
            problem = Problem("plugin.hook_failed", message, kind="fatal", cause=cause, fix=fix)
            _log.warning("%s: %s", problem.message, cause, exc_info=_log.isEnabledFor(logging.DEBUG))
        with self._lock:
            self.faults[manifest.id, name] += 1
            self.last[manifest.id, name] = problem
        return Answer(manifest.id, problem=problem)

    def _implementation(self, manifest: Manifest, name: str) -> Any:
        """The plugin's hook, its module imported and its arguments checked against the spec. Raises ConfigError."""
        with self._lock:
            if manifest.id in self._broken:
                raise ConfigError(self._broken[manifest.id])
            manager = self._manager = self._manager or _new_manager()
            if not manager.has_plugin(manifest.id):
                try:
                    _register(manager, manifest)
                except ConfigError as error:
                    self._broken[manifest.id] = error.problems[0]
                    raise
            caller = getattr(manager.hook, _PREFIX + name)
            return next(each for each in caller.get_hookimpls() if each.plugin_name == manifest.id)


def _new_manager() -> pluggy.PluginManager:
    import pluggy

    from dataflare_host import hookspecs

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _register(manager: pluggy.PluginManager, manifest: Manifest) -> None:
    """Let pluggy check the declared functions of the plugin's module, and no others. They need no marker."""
    import pluggy

    def refuse(message: str, fix: str, cause: str | None = None) -> ConfigError:
        return ConfigError.of(
            "plugin.hook_invalid", message, cause=cause, file=manifest.file, pointer="/hooks/names", fix=fix
        )

    module = object_at(manifest.hooks_module, manifest)
    declared = ModuleType(manifest.hooks_module)
    for name in manifest.hooks:
        function = getattr(module, _PREFIX + name, None)
        if not hasattr(manager.hook, _PREFIX + name):
            raise refuse(f"there is no hook `{name}`", "see docs/hooks.md for those there are")
        if not callable(function):
            raise refuse(
                f"`{manifest.hooks_module}` has no function `{_PREFIX}{name}`", "write it, or take the name out"
            )
        setattr(declared, _PREFIX + name, pluggy.HookimplMarker(manager.project_name)(function))
    try:
        manager.register(declared, manifest.id)
    except pluggy.PluginValidationError as error:
        message = f"a hook of the plugin `{manifest.id}` does not fit its specification"
        raise refuse(message, "ask only for arguments that the hook has", str(error)) from error
