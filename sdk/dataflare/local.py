"""Components that a flow built in Python was given as objects: they live in this process only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflare.declare import component_class
from dataflare.errors import ConfigError

if TYPE_CHECKING:
    from dataflare.component import Component

PREFIX = "python:"
_KNOWN: dict[str, type[Component]] = {}


def remember(thing: Any) -> str:
    """The name (``python:module/name``) under which this process finds a decorated function or a component class.

    Raises ConfigError ``flow.not_a_component``.
    """
    found = component_class(thing)
    if found is None:
        raise ConfigError.of(
            "flow.not_a_component",
            f"{thing!r} is not a component",
            fix="give `plugin/component`, a function decorated with @source, @processor or @sink, or a component class",
        )
    name = first = f"{PREFIX}{found.__module__}/{found.__qualname__}"
    count = 1
    # a factory makes several closures of one name: each keeps its own
    while _KNOWN.get(name, found) is not found:
        count += 1
        name = f"{first}#{count}"
    _KNOWN[name] = found
    return name


def recall(uses: str) -> type[Component] | None:
    """The component that was remembered under a name."""
    return _KNOWN.get(uses)
