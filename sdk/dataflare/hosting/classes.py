"""Component classes of what a guest says of its components."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import new_class
from typing import TYPE_CHECKING, Any

from dataflare.component import Component, Processor, Sink, Source, Tool
from dataflare.errors import ConfigError
from dataflare.guest.encoding import Encoding
from dataflare.hosting import component, processors, sinks, sources, tools
from dataflare.hosting.caller import Caller
from dataflare.hosting.component import Remote
from dataflare.hosting.fields import fields_of_schema
from dataflare.hosting.minors import minor_of
from dataflare.state import State

if TYPE_CHECKING:
    from dataflare.hosting.limits import Limits
    from dataflare.hosting.transport import Guests

Json = Any
Operations = Mapping[str, Callable[..., Any]]
_KINDS: Mapping[str, tuple[type[Component], Operations, Operations]] = {
    "source": (Source, sources.ALWAYS, sources.WHERE_TOLD),
    "processor": (Processor, processors.ALWAYS, processors.WHERE_TOLD),
    "sink": (Sink, sinks.ALWAYS, sinks.WHERE_TOLD),
    "tool": (Tool, tools.ALWAYS, tools.WHERE_TOLD),
}
_OURS = {"each": "batch", "size": None, "in_flight": 1, "adds": None, "rows": None, "roll": None}
"""Abilities that the guest's own driver sees to; towards the engine every component of a guest takes whole batches."""
TOLD = "components.json"
ENCODINGS: tuple[Encoding, ...] = ("arrow", "json")


def component_classes(
    described: Mapping[str, Json], guests: Guests, limits: Limits, plugin: str
) -> list[type[Component]]:
    """A class for each component in the answer to ``describe``; ``plugin`` is named in errors.

    Raises ConfigError: ``guest.protocol``, ``guest.api``, ``guest.described`` for what is no description.
    """
    if described.get("protocol") != 1:
        raise ConfigError.of(
            "guest.protocol",
            f"`{plugin}` speaks version {described.get('protocol')} of the guest protocol, this host speaks 1",
            fix="build the plugin with an SDK for this host",
        )
    minor = minor_of(described, plugin)
    both = described.get("encodings") or ["json"]
    told = described.get("components")
    if not isinstance(told, list):
        raise _wrong(plugin, "`components` is not a list")
    return [_class(one, both, minor, guests, limits, plugin) for one in told]


def told_in(folder: Path) -> dict[str, Json] | None:
    """The answer to ``describe`` that the build of a plugin left beside its manifest (``components.json``); else None.

    Raises ConfigError ``guest.described``.
    """
    try:
        told = json.loads((folder / TOLD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _wrong(folder.name, f"{TOLD} cannot be read: {error}") from error
    if not isinstance(told, dict):
        raise _wrong(folder.name, f"{TOLD} is not an object")
    return told


def release(classes: Iterable[type[Component]]) -> None:
    """Nobody makes components of these classes any more: end the guests behind them that nobody uses."""
    for guests in {getattr(made, "__dataflare_guests__", None) for made in classes}:
        if guests is not None:
            guests.close()


def warm(made: type[Component], number: int) -> None:
    """Have guests at hand for so many instances of a plugin; nothing where a class of it is not answered by guests."""
    guests: Guests | None = getattr(made, "__dataflare_guests__", None)
    if guests is not None:
        guests.retain(number)
        guests.warm(number)


def retain(made: type[Component], number: int) -> None:
    """Let the guests of so many instances of a plugin go on when these are closed, until their release."""
    guests: Guests | None = getattr(made, "__dataflare_guests__", None)
    if guests is not None:
        guests.retain(number)


def _class(
    told: Mapping[str, Json], encodings: Sequence[str], minor: str, guests: Guests, limits: Limits, plugin: str
) -> type[Component]:
    kind, name = str(told.get("kind")), str(told.get("name"))
    if kind not in _KINDS:
        raise _wrong(plugin, f"`{name}` is of the kind `{kind}`: no guest can be called as that")
    base, always, where_told = _KINDS[kind]
    written = frozenset(told.get("operations") or ())
    encoding: Encoding | None = next((each for each in told.get("encodings") or encodings if each in ENCODINGS), None)
    if encoding is None:
        raise _wrong(plugin, f"`{name}` knows none of the encodings {', '.join(ENCODINGS)}")
    calling = partial(Caller, guests, limits, f"{kind}:{name}", encoding=encoding, minor=minor)
    operations = {**component.WHERE_TOLD, **where_told}
    body: dict[str, Any] = {
        **({} if kind == "tool" else component.ALWAYS),
        **always,
        **{operation: made for operation, made in operations.items() if operation in written},
        **{state: State() for state in told.get("states") or ()},
        "__init__": _configured(calling),
        "__doc__": str(told.get("doc") or told.get("summary") or ""),
        "__module__": f"dataflare_guest.{plugin.replace('-', '_')}",
        "__dataflare_guest__": written,
        "__dataflare_guests__": guests,
        "remote": True,
        "__dataflare_schema__": told.get("config") or {"type": "object"},
    }
    made: type[Component] = new_class(
        _identifier(name), (base,), _declared(base, told), lambda space: space.update(body)
    )
    made.__dataflare_fields__ = fields_of_schema(body["__dataflare_schema__"])  # type: ignore[attr-defined]
    if kind == "tool":
        made.__dataflare_input_schema__ = told.get("input") or {"type": "object"}  # type: ignore[attr-defined]
        made.__dataflare_inputs__ = fields_of_schema(made.__dataflare_input_schema__)  # type: ignore[attr-defined]
    return made


def _configured(calling: Callable[..., Caller]) -> Callable[..., None]:
    def __init__(self: Any, **config: Any) -> None:
        Component.__init__(self, **config)
        fields = type(self).__dataflare_fields__  # type: ignore[attr-defined]
        # What nobody configured and has no default is left out: the guest's own schema may know no null.
        given = {name: _json(value) for name, value in config.items() if value is not None or fields[name].default}
        vars(self)["_remote"] = Remote(calling(config=given))

    return __init__


def _json(value: Any) -> Json:
    """A configured value as the guest gets it: as it was written, secrets with their values."""
    from dataflare.types import Secret

    if isinstance(value, Secret):
        return value.get()
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _declared(base: type[Component], told: Mapping[str, Json]) -> dict[str, Any]:
    abilities = {
        name: tuple(value) if isinstance(base.abilities.get(name), tuple) or (name == "inputs" and value) else value
        for name, value in (told.get("abilities") or {}).items()
        if name in base.abilities and value is not None
    }
    abilities |= {name: value for name, value in _OURS.items() if name in base.abilities}
    if base is Source:
        abilities["replay"] = abilities.get("replay") or "position"
    common = {name: told[name] for name in ("version", "lanes", "deprecated") if told.get(name) is not None}
    return {**abilities, **common, "name": told["name"], "aliases": tuple(told.get("aliases") or ())}


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name) or "component"


def _wrong(plugin: str, what: str) -> ConfigError:
    message = f"what `{plugin}` says of its components cannot be used: {what}"
    return ConfigError.of("guest.described", message, fix="build the plugin with an SDK for this host")
