"""What components share (a connection pool, a model): one a process and configuration, opened late, closed properly."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from dataflare.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_MISSING = object()


def resource(function: F) -> F:
    """Make a shared thing of a generator that yields it once and then cleans up, or of a function that returns it.

    A component asks for it by name, before the ``*``. Parameters of the resource after its ``*`` are filled from the
    fields of the same name of the component that asks, those before it are other resources.
    """
    if not inspect.isfunction(function):
        raise ConfigError.of("plugin.declaration", f"@resource stands before a function, not {function!r}")
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY and resource_named(function, name) is None:
            raise ConfigError.of(
                "plugin.parameter",
                f"`{name}` is not a resource: put it after `*`",
                cause=f"{function.__qualname__} gets other resources before the `*`, and configuration after it",
                fix=f"def {function.__name__}(*, {name}, ...)",
            )
    function.__resource__ = True  # type: ignore[attr-defined]
    return function


def resource_named(function: Callable[..., Any], name: str) -> Callable[..., Any] | None:
    """The resource that a parameter of ``function`` asks for: the one its module knows by that name."""
    found = getattr(inspect.unwrap(function), "__globals__", {}).get(name)
    return found if callable(found) and getattr(found, "__resource__", False) else None


def settings_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The configuration of a resource: its parameters after the ``*``, and those of the resources that it asks for."""
    found: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            found[name] = parameter
        elif (other := resource_named(function, name)) is not None:
            found = {**settings_of(other), **found}
    return found


class Resources:
    """The resources of one process. Thread-safe; a resource is opened by the first who asks and closed by ``close``."""

    def __init__(self) -> None:
        self._open: dict[tuple[Any, ...], Any] = {}
        self._locks: dict[tuple[Any, ...], threading.RLock] = {}
        self._lock = threading.Lock()
        self._exits = ExitStack()
        self._closed = False

    def get(self, function: Callable[..., Any], component: object = None) -> Any:
        """The value of a resource, configured by the attributes of the component that asks.

        Raises ConfigError (``resource.setting``) where the component lacks a setting that has no default,
        (``resource.closed``) after ``close``. An error of the resource itself comes through; the next call tries again.
        """
        settings = self._settings(function, component)
        key = (function, *((name, _frozen(value)) for name, value in sorted(settings.items())))
        with self._lock:
            if self._closed:
                raise _asked_after_the_end(function)
            lock = self._locks.setdefault(key, threading.RLock())
        with lock:
            if key not in self._open:
                self._open[key] = self._start(function, settings, component)
            return self._open[key]

    __call__ = get

    def close(self) -> None:
        """Close all, the last opened first. Every one is closed, even if another fails; the first failure is raised."""
        with self._lock:
            self._closed = True
        self._open.clear()
        self._exits.close()

    def __enter__(self) -> Resources:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self, function: Callable[..., Any], settings: Mapping[str, Any], component: object) -> Any:
        others = {
            name: self.get(other, component)
            for name in inspect.signature(function).parameters
            if (other := resource_named(function, name)) is not None and name not in settings
        }
        own = {name: settings[name] for name in settings if name in inspect.signature(function).parameters}
        made = function(**others, **own)
        if not inspect.isgenerator(made):
            return made
        opened = contextmanager(lambda: _once(made, function))()
        value = opened.__enter__()
        with self._lock:
            if not self._closed:
                # Not pushed as a context: the failure of one must not be thrown into the others.
                self._exits.callback(opened.__exit__, None, None, None)
                return value
        opened.__exit__(None, None, None)
        raise _asked_after_the_end(function)

    def _settings(self, function: Callable[..., Any], component: object) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, parameter in settings_of(function).items():
            value = getattr(component, name, _MISSING)
            if value is _MISSING:
                value = getattr(parameter.default, "default", parameter.default)
            if value is _MISSING or value is parameter.empty or value is ...:
                raise ConfigError.of(
                    "resource.setting",
                    f"the resource `{function.__name__}` needs `{name}`",
                    fix=f"give the component that asks for it a field `{name}`",
                )
            found[name] = value
        return found


def _asked_after_the_end(function: Callable[..., Any]) -> ConfigError:
    return ConfigError.of("resource.closed", f"the resource `{function.__name__}` is asked for after the end")


def _once(made: Any, function: Callable[..., Any]) -> Iterator[Any]:
    yield from made


def _frozen(value: Any) -> Any:
    """Something hashable that is equal where two settings are."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _frozen(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(_frozen(item) for item in value)
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return (type(value), value)
