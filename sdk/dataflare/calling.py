"""Calling an author's operation: it gets what it asks for by name, and nothing else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from dataflare.component import PASSED, Component
from dataflare.errors import ConfigError
from dataflare.resource import resource_named

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Operation:
    """A function or method bound once: which of the engine's names it wants, and its configuration.

    ``names`` are its parameters before the ``*``, ``settings`` the keyword-only ones with their configured values.
    """

    name: str
    function: Callable[..., Any]
    names: tuple[str, ...]
    optional: frozenset[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    positional_only: int = 0
    takes_all: bool = False
    is_async: bool = False
    is_generator: bool = False

    def __call__(self, given: Mapping[str, Any]) -> Any:
        """Call with the values of ``given`` that are asked for; those not asked for are left out.

        A name that is not in ``given`` keeps the parameter's default (None, where it has none).
        """
        if self.takes_all:
            return self.function(**given, **self.settings)
        named = {name: given[name] for name in self.names if name in given}
        for name in self.names:
            if name not in named and name not in self.optional:
                named[name] = None
        first = [named.pop(name) for name in self.names[: self.positional_only] if name in named]
        return self.function(*first, **named, **self.settings)

    def __contains__(self, name: object) -> bool:
        return self.takes_all or name in self.names

    def prepared(self, given: Mapping[str, Any], one: str) -> Callable[[Any], Any]:
        """A function of the value ``one`` alone, everything else bound: for calls row by row."""
        if self.takes_all or self.positional_only:
            return lambda value: self({**given, one: value})
        wanted = [name for name in self.names if name != one and (name in given or name not in self.optional)]
        fixed = {name: given.get(name) for name in wanted}
        bound = functools.partial(self.function, **fixed, **self.settings)
        if one not in self.names:
            return lambda value: bound()
        return lambda value: bound(**{one: value})

    def annotation(self, name: str) -> Any:
        """The type that a parameter (``return``: the result) is annotated with, or None."""
        return hints(self.function).get(name)


def bind(component: Component, name: str) -> Operation:
    """The operation ``name`` of a component: a decorated function, else the method. Bound once for each instance."""
    bound: dict[str, Operation] = vars(component).setdefault("__operations__", {})
    if name not in bound:
        bound[name] = _bind(component, name)
    return bound[name]


def _bind(component: Component, name: str) -> Operation:
    function = getattr(type(component), "operations", {}).get(name)
    if function is not None:
        return _operation(name, function, component)
    attribute = inspect.getattr_static(type(component), name)
    return _operation(name, attribute.__get__(component, type(component)), None)


def is_overridden(component: Component | type[Component], name: str) -> bool:
    """True if the author wrote this operation; False if it is the kind's own, which does nothing."""
    cls = component if isinstance(component, type) else type(component)
    if name in getattr(cls, "operations", {}):
        return True
    owner = next((base for base in cls.__mro__ if name in vars(base)), None)
    return owner is not None and "kind" not in vars(owner)


def asks_for(cls: type[Component], operation: str, name: str) -> bool:
    """True if the author's operation takes what the engine passes under this name."""
    function = getattr(cls, "operations", {}).get(operation) or inspect.getattr_static(cls, operation)
    return name in inspect.signature(getattr(function, "__func__", function)).parameters


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function; those that cannot be resolved are left out."""
    plain = inspect.unwrap(getattr(function, "__func__", function))
    try:
        return get_type_hints(plain)
    except Exception:
        return {name: kind for name, kind in getattr(plain, "__annotations__", {}).items() if not isinstance(kind, str)}


def _operation(name: str, function: Callable[..., Any], component: Component | None) -> Operation:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError.of("step.operation", f"`{name}` cannot be called: {error}") from error
    engine_passed = [
        p for p in parameters if p.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    settings = {}
    if component is not None:
        settings = {p.name: getattr(component, p.name) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    else:
        engine_passed += [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    plain = inspect.unwrap(getattr(function, "__func__", function))
    return Operation(
        name=name,
        function=function,
        names=tuple(p.name for p in engine_passed),
        optional=frozenset(p.name for p in engine_passed if p.default is not inspect.Parameter.empty),
        settings=settings,
        resources=_resources(plain, engine_passed),
        positional_only=sum(p.kind is inspect.Parameter.POSITIONAL_ONLY for p in engine_passed),
        takes_all=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        is_async=inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain),
        is_generator=inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain),
    )


def _resources(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> dict[str, Any]:
    """The parameters that are named after an ``@resource`` of the function's module."""
    found = {p.name: resource_named(function, p.name) for p in parameters if p.name not in PASSED}
    return {name: resource for name, resource in found.items() if resource is not None}
