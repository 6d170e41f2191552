"""What stands in for the host in a test: a context, and components made of whatever an author wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dataflare.component import Component
from dataflare.context import Context, FixedClock
from dataflare.declare import component_class
from dataflare.drive import Driver, ToolDriver, driver_for
from dataflare.errors import ConfigError
from dataflare.memory import MemoryState
from dataflare.split import Json, Resume

D = TypeVar("D", bound=Driver)
START = datetime(2026, 1, 1, tzinfo=UTC)
"""What the clock of a test says at first."""


def context(cache: Path | None = None, **changes: Any) -> Context:
    """The surroundings of one lane in a test: a clock that stands still, state in memory, a folder of its own.

    ``changes`` are fields of Context; give ``http``, ``secrets`` and the like where the component needs them.
    """
    clock = FixedClock(START)
    made = Context(
        id="test-step-0",
        flow="test",
        step="step",
        incarnation="00000000-test",
        fence=1,
        cache=cache or Path(tempfile.gettempdir()) / "dataflare-testing",
        clock=clock,
        state=MemoryState(clock),
    )
    for name, value in changes.items():
        if name not in Context.__dataclass_fields__:
            raise ConfigError.of("testing.context", f"a context has no `{name}`")
        setattr(made, name, value)
    return made


def component(thing: Any, **config: Any) -> Component:
    """A configured component of a decorated function, a class, or an instance (which needs no configuration).

    Raises ConfigError (``testing.component``) for anything else, and for a wrong configuration.
    """
    if isinstance(thing, Component):
        if config:
            raise ConfigError.of(
                "testing.component", "this component is configured already", fix="give the class instead"
            )
        return thing
    cls = component_class(thing)
    if cls is None:
        raise ConfigError.of(
            "testing.component", f"{thing!r} is not a component", fix="decorate it, or derive it from a kind"
        )
    return cls(**config)


@contextmanager
def driven(thing: Any, kind: type[D], ctx: Context | None, config: Mapping[str, Any]) -> Iterator[D]:
    """A driver that is open, and closed at the end. Raises ConfigError where the component is of another kind."""
    with tempfile.TemporaryDirectory(prefix="dataflare-") as folder:
        driver = drive(thing, kind, ctx or context(Path(folder)), config)
        driver.open(Resume())
        try:
            yield driver
        finally:
            driver.close()


def drive(thing: Any, kind: type[D], ctx: Context, config: Mapping[str, Any]) -> D:
    """A driver, not yet open."""
    made = component(thing, **config)
    driver = driver_for(made, ctx)
    if not isinstance(driver, kind):
        raise ConfigError.of("testing.component", f"`{made.spec.name}` is a {made.kind}")
    return driver


def call(tool: Any, given: Mapping[str, Json] | None = None, *, ctx: Context | None = None, **config: Any) -> Json:
    """The answer of a tool to an input, as JSON: ``call(tax_of, {"net": 100}, rates={"FR": 0.2}) == 20``."""
    with driven(tool, ToolDriver, ctx, config) as driver:
        return driver.answer(**(given or {}))
