"""Plays the conversations of `guest.json` against whatever carries frames to the components of `guest_plugin.py`."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataflare.guest import Frame

VECTORS = Path(__file__).parent
CONVERSATIONS: list[dict[str, Any]] = json.loads((VECTORS / "guest.json").read_text("utf-8"))["conversations"]
Ask = Callable[[Frame], Frame]


class Answering:
    """The host of a conversation: it knows which questions come, and answers them."""

    def __init__(self) -> None:
        self.expected: list[dict[str, Any]] = []

    def __call__(self, frame: Frame) -> Frame:
        turn = self.expected.pop(0)
        assert frame.header == turn["question"]
        return Frame(turn["answer"])


def play(conversation: dict[str, Any], ask: Ask, host: Answering) -> None:
    """Every turn is answered as it is written; ``host`` answers what is asked meanwhile."""
    for turn in conversation["turns"]:
        host.expected = list(turn.get("host", ()))
        answer = ask(Frame(turn["request"], [part_of(part) for part in turn.get("parts", ())]))
        assert not host.expected
        assert told(answer.header) == turn["answer"], (conversation["name"], turn["request"])
        expected = turn.get("answer_parts", [])
        assert [read_part(part, like) for part, like in zip(answer.parts, expected, strict=True)] == expected


def part_of(told: dict[str, Any]) -> bytes:
    """The bytes of a part as the vectors have it."""
    if "json" in told:
        return json.dumps(told["json"]).encode()
    return str(told["text"]).encode()


def read_part(part: bytes | memoryview, like: dict[str, Any]) -> dict[str, Any]:
    """A part as the vectors have it."""
    if "json" in like:
        return {"json": json.loads(bytes(part))}
    if "u32" in like:
        return {"u32": list(struct.unpack(f"<{len(part) // 4}I", part))}
    return {"text": bytes(part).decode()}


def told(header: dict[str, Any]) -> dict[str, Any]:
    """A header as the vectors have it: of an error code, kind and pointer, of a schema its columns.

    What a guest may say of rows that were not planned is not among it.
    """
    kept = {name: value for name, value in header.items() if name != "problems"}
    if "error" in kept:
        kept["error"] = {name: kept["error"][name] for name in ("code", "kind", "pointer") if kept["error"].get(name)}
    if isinstance(kept.get("schemas"), dict):
        kept["schemas"] = {name: {"columns": schema["columns"]} for name, schema in kept["schemas"].items()}
    if "outputs" in kept:
        kept["outputs"] = [{word: each[word] for word in each if word != "schema"} for each in kept["outputs"]]
    return kept
