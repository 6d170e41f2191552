"""One open component of a guest: its driver, how its rows travel, what was begun with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dataflare.batch import Batch
from dataflare.drive import Driver, ProcessorDriver, SinkDriver, SourceDriver
from dataflare.errors import ConfigError, Failed
from dataflare.guest.encoding import Encoding, Json, Part, Room, encode
from dataflare.schema import Schema

Answer = tuple[dict[str, Json], list[Part]]
"""A header and its parts."""


class Instance:
    """One open component of this guest."""

    def __init__(self, driver: Driver, encoding: Encoding, inputs: dict[str, Schema], room: Room | None = None) -> None:
        self.driver = driver
        self._room = room
        self.encoding = encoding
        self.inputs = inputs
        """Input → schema: what JSON rows are read as."""
        self.readings: dict[str, Any] = {}
        """Split → its readings under way."""
        self.rounds: Iterator[Any] | None = None

    def encode(self, batch: Batch) -> Part:
        """A batch in this instance's encoding."""
        return encode(batch, self.encoding, self._room)

    def output(self, name: str, batch: Batch, planned: Schema | None, parts: list[Part]) -> dict[str, Json]:
        """One of an answer's ``outputs``; with the schema of its rows, where neither they nor a plan tell it."""
        parts.append(self.encode(batch))
        told = {"name": name, "part": len(parts) - 1}
        if self.encoding == "arrow" or (planned is not None and not planned.open):
            return told
        return {**told, "schema": Schema(batch.schema).as_json()}

    @property
    def source(self) -> SourceDriver:
        """The driver of a source. Raises ConfigError ``guest.operation``, as those below."""
        if not isinstance(self.driver, SourceDriver):
            raise self._not_its()
        return self.driver

    @property
    def processor(self) -> ProcessorDriver:
        """The driver of a processor."""
        if not isinstance(self.driver, ProcessorDriver):
            raise self._not_its()
        return self.driver

    @property
    def sink(self) -> SinkDriver:
        """The driver of a sink."""
        if not isinstance(self.driver, SinkDriver):
            raise self._not_its()
        return self.driver

    def _not_its(self) -> ConfigError:
        spec = self.driver.component.spec
        return ConfigError.of("guest.operation", f"`{spec.name}` is a {spec.kind}: it has no such operation")


def word(header: Mapping[str, Json], name: str) -> Json:
    """A word of a header. Raises Failed ``guest.frame`` where it is missing."""
    if name not in header:
        raise Failed.of("guest.frame", "what was sent is not a frame", cause=f"its header has no `{name}`")
    return header[name]
