"""The fields of a configuration, read from annotations: which there are, and what each says of itself."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare.resource import resource_named, settings_of

if TYPE_CHECKING:
    from dataflare.component import Component

BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "multiple_of")

PASSED_TO_CALLS: Mapping[str, frozenset[str]] = {"tool": frozenset({"ctx"}), "command": frozenset({"ctx", "host"})}
"""What the engine passes to the kinds whose other parameters before the ``*`` are the caller's input."""

Choices = Sequence[Any] | Callable[..., Sequence[Any]]
When = Mapping[str, Any] | Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Field:
    """One field: its type, its default (``...``: it must be given) and what an operator is told and allowed."""

    default: Any = ...
    help: str = ""
    choices: Choices | None = None
    when: When | None = None
    was: tuple[str, ...] = ()
    advanced: bool = False
    bounds: Mapping[str, Any] = dataclass_field(default_factory=dict)
    name: str = ""
    annotation: Any = None

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is ...

    def applies(self, config: Mapping[str, Any]) -> bool:
        """Whether it has a meaning beside these other values."""
        if self.when is None:
            return True
        if callable(self.when):
            return bool(self.when(config))
        return all(_meets(config.get(name), wanted) for name, wanted in self.when.items())

    def choices_for(self, config: Mapping[str, Any]) -> list[Any] | None:
        """The values to choose from beside these other values; None: any."""
        if self.choices is None or not callable(self.choices):
            return None if self.choices is None else list(self.choices)
        takes = bool(inspect.signature(self.choices).parameters)
        return list(self.choices(config) if takes else self.choices())


def field(
    default: Any = ...,
    *,
    help: str = "",
    choices: Choices | None = None,
    when: When | None = None,
    was: str | Sequence[str] = (),
    advanced: bool = False,
    **bounds: Any,
) -> Any:
    """Describe a configuration field: ``rows: int = field(default=10_000, help="Rows at a time.", ge=1)``.

    ``choices``: the values allowed, or a function of the half-filled configuration that gives them. ``when``: the field
    has a meaning only there (``{"format": "csv"}``, or a function of the configuration). ``was``: older names, still
    accepted. ``advanced``: left out of short help. ``bounds``: ge, gt, le, lt, multiple_of, min_length, max_length,
    pattern.
    """
    unknown = [name for name in bounds if name not in BOUNDS]
    if unknown:
        raise ConfigError.of(
            "plugin.declaration", f"`field` has no `{unknown[0]}`", fix=f"bounds are {', '.join(BOUNDS)}"
        )
    old = (was,) if isinstance(was, str) else tuple(was)
    return Field(default, help, choices, when, old, advanced, dict(bounds))


def fields_of(cls: type[Component]) -> Mapping[str, Field]:
    """The configuration fields of a component class, in order: inherited ones first, those of its resources last."""
    known: Mapping[str, Field] | None = vars(cls).get("__dataflare_fields__")
    if known is None:
        known = _attributes(cls)
        for name, shared in _shared(cls).items():
            known.setdefault(name, shared)
        _check_names(cls, known)
        cls.__dataflare_fields__ = known  # type: ignore[attr-defined]
    return known


def input_fields_of(cls: type[Component]) -> Mapping[str, Field]:
    """The input of a tool or command, in order: the parameters of ``call`` before the ``*`` that a caller gives."""
    if (told := vars(cls).get("__dataflare_inputs__")) is not None:
        return told  # type: ignore[no-any-return]
    passed = PASSED_TO_CALLS.get(cls.kind, frozenset())
    operations: Mapping[str, Callable[..., Any]] = getattr(cls, "operations", {})
    call = operations.get("call", cls.call)  # type: ignore[attr-defined]
    found: dict[str, Field] = {}
    for name, parameter in inspect.signature(call).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name == "self" or name in passed:
            continue
        from_config = parameter.kind is parameter.KEYWORD_ONLY and bool(operations)
        if not from_config and resource_named(call, name) is None:
            found[name] = _of_parameter(cls, parameter, call.__globals__)
    return found


def _check_names(cls: type[Component], fields: Mapping[str, Field]) -> None:
    """A field must not hide an operation: the engine would call its value."""
    from dataflare.declare import kinds

    taken = {name for name in dir(kinds()[cls.kind]) if not name.startswith("_")} | {"spec", "function", "operations"}
    for name in fields:
        if name in taken:
            raise _wrong(cls, name, f"every {cls.kind} has something of that name", "give the field another name")


def _attributes(cls: type[Component]) -> dict[str, Field]:
    from dataflare.declare import kinds

    found: dict[str, Field] = {}
    bases = {*kinds().values(), *_component_bases()}
    for klass in reversed(cls.__mro__):
        if klass in bases or klass in (object, typing.Generic):
            continue
        annotations = _annotations(cls, klass)
        for name, value in vars(klass).items():
            if isinstance(value, Field) and name not in annotations and name not in found:
                raise _wrong(cls, name, "it has no type", f"write `{name}: TYPE = field(...)`")
        for name, annotation in annotations.items():
            if name.startswith("_") or _is_classvar(annotation):
                found.pop(name, None)
                continue
            default = vars(klass).get(name, ...)
            if not _is_attribute_of_engine(default):
                evaluated = _evaluate(cls, name, annotation, _names_of(klass))
                if not _is_state(evaluated):
                    found[name] = _made(name, evaluated, default)
    for name, value in vars(cls).items():
        if name in found and name not in inspect.get_annotations(cls):
            found[name] = _made(name, found[name].annotation, value)
    return found


def _annotations(cls: type[Component], klass: type) -> dict[str, Any]:
    try:
        return inspect.get_annotations(klass)
    except NameError as error:
        fix = "import the type at the top of the module, not under TYPE_CHECKING"
        raise _wrong(cls, str(error.name), f"a type cannot be read: {error}", fix) from error


def _shared(cls: type[Component]) -> dict[str, Field]:
    """The settings of the resources that the operations ask for."""
    functions = [*getattr(cls, "operations", {}).values()]
    functions += [value for klass in cls.__mro__ for value in vars(klass).values() if inspect.isfunction(value)]
    found: dict[str, Field] = {}
    for function in functions:
        for name in inspect.signature(function).parameters:
            asked = resource_named(function, name)
            for setting, parameter in (settings_of(asked) if asked else {}).items():
                found.setdefault(setting, _of_parameter(cls, parameter, asked.__globals__))  # type: ignore[union-attr]
    return found


def _of_parameter(cls: type[Component], parameter: inspect.Parameter, names: dict[str, Any]) -> Field:
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    default = ... if parameter.default is parameter.empty else parameter.default
    return _made(parameter.name, _evaluate(cls, parameter.name, annotation, names), default)


def _made(name: str, annotation: Any, default: Any) -> Field:
    described = default if isinstance(default, Field) else Field(default)
    return replace(described, name=name, annotation=annotation)


def _evaluate(cls: type[Component], name: str, annotation: Any, names: dict[str, Any]) -> Any:
    holder = type("_", (), {"__annotations__": {name: annotation}})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)[name]
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        fix = "import the type at the top of the module, not under TYPE_CHECKING or inside a function"
        raise _wrong(cls, name, f"its type `{annotation}` cannot be read: {error}", fix) from error


def _names_of(klass: type) -> dict[str, Any]:
    function = vars(klass).get("function")
    if isinstance(function, staticmethod):
        return function.__func__.__globals__
    module = sys.modules.get(klass.__module__)
    if module is not None:
        return vars(module)
    own = [value for value in vars(klass).values() if inspect.isfunction(value)]
    return own[0].__globals__ if own else {}


def _component_bases() -> tuple[type, ...]:
    from dataflare.component import Component

    return (Component,)


def _is_classvar(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").replace("t.", "").startswith("ClassVar")
    return annotation is typing.ClassVar or typing.get_origin(annotation) is typing.ClassVar


def _is_state(annotation: Any) -> bool:
    kind = typing.get_origin(annotation) or annotation
    return getattr(kind, "__name__", "") == "State" and getattr(kind, "__module__", "").startswith("dataflare.")


def _is_attribute_of_engine(default: Any) -> bool:
    kind = type(default)
    state = kind.__name__ == "State" and kind.__module__.startswith("dataflare.")
    return state or bool(getattr(default, "__resource__", False))


def _meets(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, (tuple, list, set, frozenset)) else bool(value == wanted)


def _wrong(cls: type[Component], name: str, what: str, fix: str) -> ConfigError:
    return ConfigError.of("plugin.config_type", f"`{name}` of {cls.__module__}.{cls.__qualname__}: {what}", fix=fix)
