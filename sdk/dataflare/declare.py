"""What a component class says of itself, and the open list of kinds.

A kind is made by ``class Store(Component, kind="store", abilities={...})``; a component of it by
``class Files(Store, durable=True)``. Both are checked while the class is made, so a mistake shows at import.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError

if TYPE_CHECKING:
    from dataflare.component import Component, Spec

_BASES: dict[str, type[Component]] = {}

_COMMON: Mapping[str, Any] = {"name": None, "aliases": (), "deprecated": None, "version": 1, "lanes": None}
_INHERITED = ("version", "lanes")

_CALLED_BY_NAME = ("source", "processor", "sink")
_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_WORDS: Mapping[tuple[str, str], tuple[Any, ...]] = {
    ("source", "replay"): (None, "position", "redelivery", "none"),
    ("source", "effects"): ("none", "reads", "writes"),
    ("processor", "each"): ("batch", "row", "key"),
    ("processor", "effects"): ("none", "reads", "writes"),
    ("processor", "cardinality"): ("one", "filter", "any"),
    ("sink", "ability"): ("transactional", "staged", "idempotent", "append"),
    ("sink", "each"): ("batch", "row"),
    ("sink", "fencing"): ("target", "names", "lock", "none"),
    ("sink", "commits"): ("step", "lane"),
    ("sink", "shared"): ("process", "host", "files", "network"),
    ("tool", "effects"): ("none", "reads", "writes"),
}


def kinds() -> Mapping[str, type[Component]]:
    """Kind → its base class; third parties add theirs by making a base with ``kind="name"``."""
    return MappingProxyType(_BASES)


def normalise(name: str) -> str:
    """The canonical form of a plugin's or component's name: lower case with dashes (``with_vat`` → ``with-vat``)."""
    return re.sub(r"[\s_-]+", "-", name.strip().lower()).strip("-")


def nearest(name: str, known: Any) -> str | None:
    """The known name that ``name`` was most likely meant to be, or None."""
    from difflib import get_close_matches

    found = get_close_matches(name, [str(other) for other in known], n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Any, otherwise: str) -> str:
    """The fix for a name that is not known: the nearest that is, else ``otherwise``."""
    near = nearest(name, known)
    return f"did you mean `{near}`?" if near else otherwise


def component_class(thing: Any) -> type[Component] | None:
    """The component that a class or a decorated function stands for; None for anything else, a kind's base included."""
    from dataflare.component import Component

    made = getattr(thing, "__dataflare__", None)
    found = thing if made is None else made
    if isinstance(found, type) and issubclass(found, Component) and "spec" in vars(found):
        return found
    return None


def components_in(module: ModuleType) -> list[type[Component]]:
    """The components that a module defines itself, in order; what it imports and names with ``_`` are left out."""
    found: dict[type[Component], None] = {}
    for name, value in vars(module).items():
        made = component_class(value)
        if made is not None and made.__module__ == module.__name__ and not name.startswith("_"):
            found[made] = None
    return list(found)


def base_of_kind(cls: type[Component], kind: str, abilities: Mapping[str, Any]) -> None:
    """Make ``cls`` the base of a kind.

    Raises ConfigError (``plugin.kind_conflict``) where another class is that base, (``plugin.declaration``) for a name
    that is not in canonical form or an ability that hides a keyword which every component has.
    """
    if not kind or kind != normalise(kind):
        raise _refused(cls, f"the kind `{kind}` is not in canonical form", f'write `kind="{normalise(kind)}"`')
    hidden = sorted(set(abilities) & set(_COMMON))
    if hidden:
        raise _refused(cls, f"`{hidden[0]}` is a keyword of every component, not an ability", "give it another name")
    taken = _BASES.get(kind)
    if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError.of(
            "plugin.kind_conflict",
            f"the kind `{kind}` is made twice: by {_where(taken)} and by {_where(cls)}",
            fix="subclass the first, or give the second another name",
        )
    cls.kind = kind
    cls.abilities = MappingProxyType({**cls.abilities, **abilities})
    _BASES[kind] = cls


def spec_of_class(cls: type[Component], declared: Mapping[str, Any]) -> Spec:
    """The Spec of a component class from its class keywords, its name and its docstring.

    Abilities are those of the class it derives from, changed by the keywords. Raises ConfigError
    (``plugin.declaration``) for an unknown keyword or a word that the ability does not have.
    """
    from dataflare.component import Spec

    if not isinstance(cls.kind, str):
        raise _refused(cls, "a field cannot be called `kind`: every component has something of that name", "rename it")
    parent: Spec | None = getattr(cls, "spec", None)
    for key, value in declared.items():
        _check_keyword(cls, key, value)
    _check_operations(cls)
    common = {**_COMMON, **({key: getattr(parent, key) for key in _INHERITED} if parent else {})}
    common.update({key: value for key, value in declared.items() if key in _COMMON})
    abilities = {**cls.abilities, **(parent.declared if parent else {})}
    abilities.update({key: value for key, value in declared.items() if key not in _COMMON})
    doc = inspect.cleandoc(cls.__doc__) if cls.__doc__ else ""
    return Spec(
        kind=cls.kind,
        name=normalise(common["name"] or _dashed(cls.__name__)),
        summary=doc.partition("\n")[0].strip(),
        doc=doc,
        aliases=tuple(normalise(alias) for alias in common["aliases"]),
        deprecated=common["deprecated"],
        version=common["version"],
        lanes=common["lanes"],
        declared=MappingProxyType(abilities),
    )


def _check_operations(cls: type[Component]) -> None:
    """What a method asks for must be passed by somebody."""
    from dataflare.component import PASSED
    from dataflare.resource import resource_named

    if cls.kind not in _CALLED_BY_NAME:
        return
    for name, method in vars(cls).items():
        if not inspect.isfunction(method) or not hasattr(_BASES[cls.kind], name) or name.startswith("_"):
            continue
        fixed = inspect.signature(getattr(_BASES[cls.kind], name)).parameters
        for parameter in [*inspect.signature(method).parameters.values()][1:]:
            given = parameter.name in fixed or parameter.default is not parameter.empty or parameter.kind in _ANY
            if not given and parameter.name not in PASSED and resource_named(method, parameter.name) is None:
                raise ConfigError.of(
                    "plugin.parameter",
                    f"`{parameter.name}` is not passed by the engine: make it an attribute",
                    cause=f"`{name}` of {_where(cls)}: the engine passes {', '.join(sorted(PASSED))}",
                    fix=f"write `{parameter.name}: TYPE` in the class and `self.{parameter.name}` in `{name}`",
                )


def _check_keyword(cls: type[Component], key: str, value: Any) -> None:
    known = [*cls.abilities, *_COMMON]
    if key not in known:
        guess = nearest(key, known)
        fix = f"write `{guess}`" if guess else f"a {cls.kind} has {', '.join(f'`{name}`' for name in known)}"
        raise _refused(cls, f"a {cls.kind} has no ability `{key}`", fix)
    words = _WORDS.get((cls.kind, key))
    if words is not None and value not in words:
        raise _refused(cls, f"`{key}` cannot be {value!r}", f"use one of {', '.join(repr(word) for word in words)}")
    if isinstance(cls.abilities.get(key), bool) and not isinstance(value, bool):
        raise _refused(cls, f"`{key}` cannot be {value!r}", "use True or False")
    if isinstance(_COMMON.get(key, cls.abilities.get(key)), tuple) and isinstance(value, str):
        raise _refused(cls, f"`{key}` takes several names", f"write `{key}=({value!r},)`")
    if key in ("version", "lanes") and value is not None and (not isinstance(value, int) or value < 1):
        raise _refused(cls, f"`{key}` cannot be {value!r}", "use a whole number from 1 on")


def _refused(cls: type[Component], message: str, fix: str) -> ConfigError:
    return ConfigError.of("plugin.declaration", f"{_where(cls)}: {message}", fix=fix)


def _where(cls: type[Component]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
