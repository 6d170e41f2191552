"""Functions as components: ``@source``, ``@processor``, ``@sink``, ``@tool``, ``@command``, ``@notifier``.

Before the ``*`` stands what the engine passes, after it what the operator configures. The function stays an
ordinary function; its component class is ``function.__dataflare__``.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from dataflare.component import PASSED
from dataflare.declare import kinds, normalise
from dataflare.errors import ConfigError
from dataflare.fields import PASSED_TO_CALLS, Field
from dataflare.resource import resource_named

F = TypeVar("F", bound=Callable[..., Any])
Effects = Literal["none", "reads", "writes"]

_OPERATIONS = {
    "source": "read",
    "processor": "process",
    "sink": "write",
    "tool": "call",
    "command": "call",
    "notifier": "notify",
}


@overload
def source(function: F, /) -> F: ...
@overload
def source(
    *,
    replay: Literal["position", "redelivery", "none"] | None = None,
    rows: Any = None,
    ack_gated: bool = False,
    acknowledge_within: Any = None,
    stable_ids: bool = False,
    max_in_flight: int | None = None,
    effects: Effects = "none",
    deterministic: bool = True,
    name: str | None = None,
    aliases: Sequence[str] = (),
    deprecated: str | None = None,
    version: int = 1,
    lanes: int | None = None,
) -> Callable[[F], F]: ...
def source(function: Any = None, /, **declared: Any) -> Any:
    """Make a source of a generator that yields rows, or ``(rows, position)``.

    Ask for ``position`` (with the start as default) to be resumable, for ``split``, ``demand``, ``columns``, ``ctx``
    as needed.
    """
    return _decorated("source", function, declared)


@overload
def processor(function: F, /) -> F: ...
@overload
def processor(
    *,
    each: Literal["batch", "row", "key"] = "batch",
    by: str | None = None,
    outputs: Sequence[str] = (),
    adds: Any = None,
    size: int | None = None,
    in_flight: int = 1,
    ordered: bool = True,
    deterministic: bool = True,
    effects: Effects = "none",
    cardinality: Literal["one", "filter", "any"] = "any",
    reads: Sequence[str] | None = None,
    writes: Sequence[str] | None = None,
    clears: Sequence[str] = (),
    inputs: Sequence[str] | None = None,
    name: str | None = None,
    aliases: Sequence[str] = (),
    deprecated: str | None = None,
    version: int = 1,
    lanes: int | None = None,
) -> Callable[[F], F]: ...
def processor(function: Any = None, /, **declared: Any) -> Any:
    """Make a processor of a function.

    It takes a ``batch``, or a ``row`` (``each="row"``), or a ``key`` with its rows and ``state`` (``each="key"``).
    """
    return _decorated("processor", function, declared)


@overload
def sink(function: F, /) -> F: ...
@overload
def sink(
    *,
    ability: Literal["transactional", "staged", "idempotent", "append"] = "append",
    each: Literal["batch", "row"] = "batch",
    roll: Any = None,
    fencing: Literal["target", "names", "lock", "none"] = "none",
    commits: Literal["step", "lane"] = "step",
    clears: Sequence[str] = (),
    shared: Literal["process", "host", "files", "network"] = "files",
    name: str | None = None,
    aliases: Sequence[str] = (),
    deprecated: str | None = None,
    version: int = 1,
    lanes: int | None = None,
) -> Callable[[F], F]: ...
def sink(function: Any = None, /, **declared: Any) -> Any:
    """Make a sink of a function of ``batch`` (or ``row``): each call writes."""
    return _decorated("sink", function, declared)


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    effects: Effects = "none",
    name: str | None = None,
    aliases: Sequence[str] = (),
    deprecated: str | None = None,
    version: int = 1,
) -> Callable[[F], F]: ...
def tool(function: Any = None, /, **declared: Any) -> Any:
    """Make a tool: its input stands before the ``*``, the operator's settings after it."""
    return _decorated("tool", function, declared)


@overload
def command(function: F, /) -> F: ...
@overload
def command(
    *,
    group: str | None = None,
    name: str | None = None,
    aliases: Sequence[str] = (),
    deprecated: str | None = None,
    version: int = 1,
) -> Callable[[F], F]: ...
def command(function: Any = None, /, **declared: Any) -> Any:
    """Make a command of the command line: ``dataflare [group] NAME``; what stands before the ``*`` becomes options."""
    return _decorated("command", function, declared)


@overload
def notifier(function: F, /) -> F: ...
@overload
def notifier(
    *, name: str | None = None, aliases: Sequence[str] = (), deprecated: str | None = None, version: int = 1
) -> Callable[[F], F]: ...
def notifier(function: Any = None, /, **declared: Any) -> Any:
    """Make a notifier of a function of ``alert``."""
    return _decorated("notifier", function, declared)


def _decorated(kind: str, function: Any, declared: dict[str, Any]) -> Any:
    def decorate(function: F) -> F:
        function.__dataflare__ = _component(kind, function, declared)  # type: ignore[attr-defined]
        return function

    return decorate if function is None else decorate(function)


def _component(kind: str, function: Callable[..., Any], declared: dict[str, Any]) -> type:
    if isinstance(function, type) or not inspect.isfunction(function):
        raise ConfigError.of(
            "plugin.declaration",
            f"@{kind} stands before a function, not {function!r}",
            fix=f"a class derives from `{kind.capitalize()}` instead",
        )
    base = kinds()[kind]
    body = {
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__annotations__": {},
        "function": staticmethod(function),
        "operations": {_OPERATIONS[kind]: function},
    }
    _check_passed(kind, function)
    _move_settings(function, body)
    keywords = {"name": normalise(function.__name__), **declared}
    made: type = types.new_class(function.__name__, (base,), keywords, lambda namespace: namespace.update(body))
    return made


def _check_passed(kind: str, function: Callable[..., Any]) -> None:
    passed = PASSED | {"alert"} if kind == "notifier" else PASSED
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError.of(
                "plugin.parameter",
                f"`{function.__qualname__}` takes any argument: `{parameter}`",
                fix="write down each name: before the `*` what the engine passes, after it what is configured",
            )
        if parameter.kind is parameter.KEYWORD_ONLY or kind in PASSED_TO_CALLS:
            continue
        if name not in passed and resource_named(function, name) is None:
            where = f"`{function.__qualname__}` in {function.__module__}"
            raise ConfigError.of(
                "plugin.parameter",
                f"`{name}` is not passed by the engine: put it after `*`",
                cause=f"{where}: the engine passes {', '.join(sorted(passed))}",
                fix=f"def {function.__name__}(..., *, {name}, ...)",
            )


def _move_settings(function: Callable[..., Any], body: dict[str, Any]) -> None:
    """Copy the keyword-only parameters into the class body; a ``field(...)`` gives way to its plain default."""
    defaults = dict(function.__kwdefaults__ or {})
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        annotation = parameter.annotation
        body["__annotations__"][name] = Any if annotation is parameter.empty else annotation
        if parameter.default is not parameter.empty:
            body[name] = parameter.default
        if isinstance(parameter.default, Field):
            if parameter.default.required:
                del defaults[name]
            else:
                defaults[name] = parameter.default.default
    function.__kwdefaults__ = defaults or None
