"""Configuration: from annotations to checked values, to JSON Schema and back to JSON.

A class component's fields are its annotated attributes (own and inherited; not ``_private``, not ClassVar, not
``State``), a function's are its parameters after the ``*``; both get the settings of the resources they ask for.
Models are built at first need, so that declaring components costs nothing, and plain values need none.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dataflare.config_problems import problems_of
from dataflare.config_types import pydantic_type
from dataflare.declare import nearest
from dataflare.errors import ConfigError, Problem
from dataflare.fields import Field as Field
from dataflare.fields import field as field
from dataflare.fields import fields_of, input_fields_of
from dataflare.plain import plain_json, plain_values

if TYPE_CHECKING:
    from pydantic import BaseModel

    from dataflare.component import Component

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BUILDING = threading.RLock()


def configure(instance: Component, config: Mapping[str, Any]) -> None:
    """Check ``config`` and set the attributes of ``instance``.

    Raises ConfigError with one problem a wrong field; each has a pointer (``/path``), a cause and a fix.
    """
    for name, value in validate(type(instance), config).items():
        setattr(instance, name, value)


def validate(cls: type[Component], config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all fields, defaults filled in. Raises ConfigError with one problem a wrong field."""
    given, problems = _renamed(fields_of(cls), config)
    values, wrong = _checked(cls, model_of, fields_of(cls), given)
    if problems or wrong:
        raise ConfigError(*problems, *wrong)
    return values


def validate_input(cls: type[Component], given: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a tool or command as the types it asks for. Raises ConfigError as ``validate`` does."""
    values, wrong = _checked(cls, input_model_of, input_fields_of(cls), dict(given))
    if wrong:
        raise ConfigError(*wrong)
    return values


def model_of(cls: type[Component]) -> type[BaseModel]:
    """The pydantic model of a component's configuration."""
    return _kept(cls, "__dataflare_model__", fields_of(cls))


def input_model_of(cls: type[Component]) -> type[BaseModel]:
    """The pydantic model of a tool's or command's input."""
    return _kept(cls, "__dataflare_input__", input_fields_of(cls))


def json_schema(cls: type[Component]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a component's configuration.

    Beside the standard keywords: ``x-advanced``, ``x-secret``, ``x-when`` (where the field has a meaning) and
    ``x-dynamic-choices`` (``choices_of`` gives them).
    """
    told = vars(cls).get("__dataflare_schema__")
    return {
        "$schema": _DIALECT,
        **(model_of(cls).model_json_schema() if told is None else told),
        "title": cls.spec.name,
        "description": cls.spec.summary,
    }


def input_schema(cls: type[Component]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a tool's or command's input."""
    told = vars(cls).get("__dataflare_input_schema__")
    schema = input_model_of(cls).model_json_schema() if told is None else told
    return {"$schema": _DIALECT, **schema, "title": cls.spec.name, "description": cls.spec.summary}


def choices_of(cls: type[Component], name: str, config: Mapping[str, Any]) -> list[Any] | None:
    """What a field may be beside a half-filled configuration; None: anything of its type."""
    defaults = {key: known.default for key, known in fields_of(cls).items() if not known.required}
    return fields_of(cls)[name].choices_for({**defaults, **config})


def dump(component: Component) -> dict[str, Any]:
    """The configuration as JSON that ``configure`` takes again, defaults included.

    Secrets show their reference (``${secret:NAME}``), never the value. Fields without a meaning here are left out.
    """
    fields = fields_of(type(component))
    values = {name: getattr(component, name) for name in fields}
    shown = plain_json(fields, values)
    if shown is None:
        model = model_of(type(component)).model_construct(**values)
        shown = model.model_dump(mode="json", by_alias=True, warnings=False)
    return {name: value for name, value in shown.items() if fields[name].applies(values)}


def renamed_fields(cls: type[Component], config: Mapping[str, Any]) -> dict[str, str]:
    """The fields of ``config`` that are written under an old name → the name of today."""
    today = {old: name for name, known in fields_of(cls).items() for old in known.was}
    return {old: today[old] for old in config if old in today}


def _kept(cls: type[Component], key: str, fields: Mapping[str, Field]) -> type[BaseModel]:
    model: type[BaseModel] | None = vars(cls).get(key)
    if model is None:
        model = _model(cls, fields)
        setattr(cls, key, model)
    return model


def _model(cls: type[Component], fields: Mapping[str, Field]) -> type[BaseModel]:
    from pydantic import ConfigDict, PydanticUserError, create_model

    settings = ConfigDict(extra="forbid", validate_default=True, protected_namespaces=(), defer_build=False)
    made: dict[str, Any] = {_member(name): _model_field(known) for name, known in fields.items()}
    try:
        with _no_pydantic_plugins():
            return create_model(cls.__name__, __config__=settings, __module__=cls.__module__, **made)
    except (PydanticUserError, NameError, TypeError) as error:
        raise ConfigError.of(
            "plugin.config_type",
            f"the configuration of {cls.__module__}.{cls.__qualname__} has a type that cannot be read from a flow",
            cause=str(error).partition("\n")[0],
            fix="use plain types, dataclasses, models, or the words of dataflare.types",
        ) from error


@contextmanager
def _no_pydantic_plugins() -> Iterator[None]:
    """Keep pydantic from scanning all installed metadata for plugins of its own: that takes longer than our models."""
    word = "PYDANTIC_DISABLE_PLUGINS"
    with _BUILDING:
        before = os.environ.get(word)
        os.environ[word] = "__all__"
        try:
            yield
        finally:
            if before is None:
                del os.environ[word]
            else:
                os.environ[word] = before


def _member(name: str) -> str:
    """The model's own name of a field: another one where every model has such an attribute (``schema``, ``copy``)."""
    from pydantic import BaseModel

    return f"{name}_" if hasattr(BaseModel, name) else name


def _model_field(known: Field) -> tuple[Any, Any]:
    import pydantic

    model_field: Any = pydantic.Field
    annotation = pydantic_type(known.annotation)
    needless = known.default is None or (known.required and known.when is not None)
    extra: dict[str, Any] = {"x-advanced": True} if known.advanced else {}
    extra |= {"x-dynamic-choices": True} if callable(known.choices) else {}
    extra |= {"x-when": dict(known.when)} if isinstance(known.when, Mapping) else {}
    extra |= {"enum": list(known.choices)} if known.choices is not None and not callable(known.choices) else {}
    described = model_field(
        None if needless else known.default,
        alias=known.name,
        description=known.help or None,
        json_schema_extra=extra or None,
        **known.bounds,
    )
    return (annotation | None if needless else annotation), described


def _renamed(fields: Mapping[str, Field], config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The configuration under today's names."""
    today = {old: name for name, known in fields.items() for old in known.was}
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in config.items():
        name = today.get(key, key) if key not in fields else key
        if name != key and name in config:
            fix = f"remove `{key}`"
            message = f"`{key}` is the old name of `{name}`, and both are given"
            problems.append(Problem("config.renamed", message, pointer=f"/{key}", fix=fix))
            continue
        if name != key:
            warnings.warn(f"`{key}` is now called `{name}`", DeprecationWarning, stacklevel=4)
        given[name] = value
    return given, problems


def _checked(
    cls: type[Component],
    model_of: Callable[[type[Component]], type[BaseModel]],
    fields: Mapping[str, Field],
    given: dict[str, Any],
) -> tuple[dict[str, Any], list[Problem]]:
    unknown = [_unknown(name, fields) for name in given if name not in fields]
    meant = {problem.details["meant"] for problem in unknown}
    known = {name: value for name, value in given.items() if name in fields}
    values = plain_values(fields, known)
    if values is None:
        from pydantic import ValidationError

        model = model_of(cls)
        try:
            checked = model(**known)
        except ValidationError as error:
            found = problems_of(error, known, model)
            wrong = [each for each in found if (each.code, each.pointer) not in _follow(meant)]
            return {}, [*unknown, *wrong, *_unconverted_choices(fields, known, wrong)]
        values = {name: getattr(checked, _member(name)) for name in fields}
    problems = [problem for name in fields if (problem := _misplaced(fields[name], values, known)) is not None]
    return values, [*unknown, *problems]


def _follow(meant: set[Any]) -> set[tuple[str, str]]:
    """The problems that a misspelt name brings with it: the field that was meant is missing."""
    return {("config.missing", f"/{name}") for name in meant}


def _unknown(name: str, fields: Mapping[str, Field]) -> Problem:
    guess = nearest(name, fields)
    return Problem(
        "config.unknown_field",
        f"there is no field `{name}`",
        pointer=f"/{name}",
        cause=_known(fields),
        fix=f"write `{guess}`" if guess else f"remove `{name}`",
        details={"meant": guess},
    )


def _known(fields: Mapping[str, Field]) -> str:
    return f"known fields are {', '.join(f'`{name}`' for name in fields)}" if fields else "it has no configuration"


def _misplaced(known: Field, values: Mapping[str, Any], given: Mapping[str, Any]) -> Problem | None:
    """A value that does not go with the others: without a meaning here, missing here, or not one of the choices."""
    pointer, value = f"/{known.name}", values[known.name]
    if not known.applies(values):
        if known.name not in given or value == known.default:
            return None
        where = _condition(known)
        return Problem(
            "config.not_applicable",
            f"`{known.name}` has no meaning here{where}",
            pointer=pointer,
            fix=f"remove `{known.name}`",
        )
    if known.required and known.name not in given:
        return Problem(
            "config.missing",
            f"`{known.name}` is missing",
            pointer=pointer,
            cause=known.help or None,
            fix=f"add `{known.name}`",
        )
    choices = known.choices_for(values)
    return None if choices is None or value is None else _not_among(known, value, choices)


def _unconverted_choices(
    fields: Mapping[str, Field], given: Mapping[str, Any], wrong: list[Problem]
) -> Iterator[Problem]:
    """What is not among the choices, said beside what is wrong with other fields: words, which need no conversion."""
    failed = {(problem.pointer or "/").split("/")[1] for problem in wrong}
    for name, value in given.items():
        choices = fields[name].choices
        if choices is None or callable(choices) or name in failed or not isinstance(value, str):
            continue
        if (problem := _not_among(fields[name], value, list(choices))) is not None:
            yield problem


def _not_among(known: Field, value: Any, choices: list[Any]) -> Problem | None:
    for item in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
        if item not in choices:
            guess = nearest(str(item), choices)
            listed = ", ".join(f"`{choice}`" for choice in choices)
            return Problem(
                "config.choice",
                f"`{known.name}` cannot be `{item}`",
                pointer=f"/{known.name}",
                cause=f"it is one of {listed}" if choices else "there is nothing to choose from",
                fix=f"write `{guess}`" if guess else f"write one of {listed}",
            )
    return None


def _condition(known: Field) -> str:
    if not isinstance(known.when, Mapping):
        return ""
    parts = []
    for name, wanted in known.when.items():
        words = wanted if isinstance(wanted, (tuple, list, set, frozenset)) else (wanted,)
        parts.append(f"`{name}` is {' or '.join(f'`{word}`' for word in words)}")
    return f": only where {' and '.join(parts)}"
