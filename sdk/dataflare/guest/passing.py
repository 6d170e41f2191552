"""The operations that also come before ``open``: what an older version left, and things made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

from dataflare.guest.encoding import Json, json_list, part_at
from dataflare.guest.frames import Frame
from dataflare.guest.instance import Answer, Instance, word


def _migrate_position(instance: Instance, frame: Frame) -> Answer:
    return _taken_over(frame, "position", partial(instance.source.migrate_positions, _version(frame)))


def _migrate_state(instance: Instance, frame: Frame) -> Answer:
    name = str(word(frame.header, "name"))
    return _taken_over(frame, "value", partial(instance.processor.migrate_states, _version(frame), name))


def _on_created(instance: Instance, _frame: Frame) -> Answer:
    return {"made": instance.driver.on_created()}, []


def _on_updated(instance: Instance, frame: Frame) -> Answer:
    return {"made": instance.driver.on_updated(frame.header.get("made"), dict(frame.header.get("before") or {}))}, []


def _on_deleted(instance: Instance, frame: Frame) -> Answer:
    instance.driver.on_deleted(frame.header.get("made"))
    return {}, []


PASSING: Mapping[str, Callable[[Instance, Frame], Answer]] = {
    "migrate_position": _migrate_position,
    "migrate_state": _migrate_state,
    "on_created": _on_created,
    "on_updated": _on_updated,
    "on_deleted": _on_deleted,
}
"""Without an instance the request names the component and its configuration."""


def _taken_over(frame: Frame, one: str, migrate: Callable[[list[Json]], list[Json]]) -> Answer:
    """What is made of the values in a part; of one alone, where a host of contract 1.0 sends it as ``old``."""
    if "old" in frame.header:
        return {one: migrate([frame.header["old"]])[0]}, []
    made = migrate(json_list(part_at(frame.parts, word(frame.header, "part"))))
    return {"part": 0}, [json.dumps(made, separators=(",", ":")).encode()]


def _version(frame: Frame) -> int:
    return int(word(frame.header, "version"))
