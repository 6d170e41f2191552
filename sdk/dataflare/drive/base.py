"""What all drivers share: calling operations with what they ask for, and the lane's loop."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch, Rejected
from dataflare.calling import Operation, bind, is_overridden
from dataflare.context import Context
from dataflare.drive.loop import LaneLoop
from dataflare.errors import Problem
from dataflare.split import Json, Refused, Resume

if TYPE_CHECKING:
    from dataflare.component import Component

MAIN = "out"
"""The name of a step's main output."""


class NoPosition:
    """Stands for "no position given with these rows" (a JSON ``null`` position is a position)."""

    def __repr__(self) -> str:
        return "NO_POSITION"


NO_POSITION = NoPosition()


@dataclass
class Reading:
    """One step of ``read``: rows of a stream, or none (``idle``), and where to resume after them.

    ``position`` is JSON, or NO_POSITION (``yield rows, None``: no resume point here; bare ``yield rows``: never any).
    ``refused`` is what could not be read since the last step.
    """

    batch: Batch | None
    position: Json | NoPosition = NO_POSITION
    stream: str = ""
    idle: bool = False
    after: float | None = None
    refused: list[Refused] = field(default_factory=list)


@dataclass
class Processed:
    """What one call of a processor gave: batches for named outputs (main: ``out``), and rejects of its input."""

    outputs: list[tuple[str, Batch]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class Driver:
    """One instance of a component, called by name."""

    def __init__(self, component: Component, ctx: Context) -> None:
        self.component = component
        self.ctx = ctx
        self.loop = LaneLoop()
        self.opened = False
        self._resources: dict[str, Any] = {}
        self._own_resources: Any = None

    def has(self, operation: str) -> bool:
        """True if the author wrote this operation."""
        return is_overridden(self.component, operation)

    def check(self) -> list[Problem]:
        """The component's ``check``."""
        return self._listed(self.invoke("check")) if self.has("check") else []

    def open(self, resume: Resume | None = None) -> None:
        """Resolve resources, bind state, call ``open``."""
        self.opened = True
        if self.has("open"):
            self.invoke("open", resume=resume or Resume())

    def close(self) -> None:
        """Close generators, the component, its loop, what its context opened. Never raises; logs."""
        try:
            self._end_readings()
            if self.opened and self.has("close"):
                self.invoke("close")
        except Exception:
            self.ctx.log.exception("`close` of %s failed", type(self.component).__name__)
        finally:
            self.opened = False
            if self._own_resources is not None:
                self._own_resources.close()
                self._own_resources = None
            self.loop.close()
            self.ctx.close()

    def _end_readings(self) -> None:
        """Close what is still being read."""

    def on_created(self) -> Json:
        """What is made once; JSON for the checkpoint."""
        return self.invoke("on_created") if self.has("on_created") else None

    def on_updated(self, made: Json, before: Mapping[str, Any]) -> Json:
        """The configuration changed from ``before``: what is made now."""
        return self.invoke("on_updated", made=made, before=before) if self.has("on_updated") else made

    def on_deleted(self, made: Json) -> None:
        """Undo ``on_created``."""
        if self.has("on_deleted"):
            self.invoke("on_deleted", made=made)

    # --- calling ------------------------------------------------------------------------------

    def operation(self, name: str) -> Operation:
        """The bound operation."""
        return bind(self.component, name)

    def start(self, name: str, /, **given: Any) -> Any:
        """Call an operation and give what it returns at once: a value, a generator or something to await."""
        operation = self.operation(name)
        return operation({"ctx": self.ctx, **self.resources_of(operation), **given})

    def invoke(self, name: str, /, **given: Any) -> Any:
        """Call an operation and wait for its answer; generators are given as they are."""
        return self.settled(self.start(name, **given))

    def settled(self, result: Any) -> Any:
        """The answer itself, where a call gave something to await."""
        return self.loop.run(result) if inspect.isawaitable(result) else result

    def resources_of(self, operation: Operation) -> dict[str, Any]:
        """The shared resources that an operation asks for by name."""
        wanted = operation.resources
        if not wanted:
            return {}
        for name, resource in wanted.items():
            if name not in self._resources:
                self._resources[name] = self._resource(resource)
        return {name: self._resources[name] for name in wanted}

    def _resource(self, resource: Any) -> Any:
        if self.ctx.resources is not None:
            return self.ctx.resources(resource, self.component)
        if self._own_resources is None:
            from dataflare.resource import Resources

            self._own_resources = Resources()
        return self._own_resources.get(resource, self.component)

    def items(self, result: Any) -> Iterator[Any]:
        """The items of a generator, sync or async; closing this closes the author's generator at its yield."""
        if hasattr(result, "__anext__"):
            try:
                while True:
                    try:
                        yield self.loop.run(result.__anext__())
                    except StopAsyncIteration:
                        return
            finally:
                if hasattr(result, "aclose"):
                    self.loop.run(result.aclose())
        try:
            yield from result
        finally:
            if hasattr(result, "close"):
                result.close()

    def _listed(self, result: Any) -> list[Any]:
        return list(self.items(result)) if hasattr(result, "__anext__") else list(result or ())
