"""Driving tools and commands: checked input, progress, an answer as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflare.drive.base import Driver
from dataflare.json_types import plain_json
from dataflare.split import Json


class ToolDriver(Driver):
    """Drives a tool, and every other component that has a ``call``."""

    def input_schema(self) -> dict[str, Json]:
        """The JSON Schema of the input."""
        from dataflare.config import input_schema

        return input_schema(type(self.component))

    def call(self, given: Mapping[str, Json]) -> Iterator[tuple[bool, Json]]:
        """``(last, value)``: progress values, then the answer, as JSON. Raises ConfigError for wrong input."""
        from dataflare.config import validate_input

        result = self.settled(self.start("call", host=self.ctx.host, **validate_input(type(self.component), given)))
        if not (hasattr(result, "__next__") or hasattr(result, "__anext__")):
            yield True, plain_json(result)
            return
        yield from _last_marked(self.items(result))

    def answer(self, **given: Any) -> Json:
        """The answer alone."""
        return next(value for last, value in self.call(given) if last)


def _last_marked(values: Iterator[Any]) -> Iterator[tuple[bool, Json]]:
    latest = next(values, None)
    for value in values:
        yield False, plain_json(latest)
        latest = value
    yield True, plain_json(latest)
