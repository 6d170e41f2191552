"""A stack of layers as one: what is sealed has a digest in front and is bound to its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dataflare.errors import StateError
from dataflare.store import Layer

MAGIC = b"dfs1"
DIGEST = 16


class Damaged(Exception):
    """Sealed content whose digest does not fit: changed, cut, or brought from another place."""


class Stack:
    """Layers by name; the first one is applied first to what is written."""

    def __init__(self, layers: Sequence[tuple[str, Layer]]) -> None:
        self.names = [name for name, _ in layers]
        self._layers = [layer for _, layer in layers]

    def seal(self, data: bytes, *place: Any) -> bytes:
        """The content as the store keeps it; ``place`` says what it is and where it belongs."""
        bound = self._bound(place)
        for layer in self._layers:
            data = layer.seal(data, bound)
        return MAGIC + _digest(bound, data) + data

    def unseal(self, data: bytes, *place: Any) -> bytes:
        """What was sealed for this place. Raises Damaged, and StateError where a key is missing or wrong."""
        bound, head = self._bound(place), len(MAGIC) + DIGEST
        content = data[head:]
        if not is_sealed(data) or data[len(MAGIC) : head] != _digest(bound, content):
            raise Damaged
        try:
            for layer in reversed(self._layers):
                content = layer.unseal(content, bound)
        except StateError as error:
            if error.code == "state.corrupt":
                raise Damaged from error
            raise
        return content

    def keys(self, data: bytes) -> list[str]:
        """The ids of the keys that the outermost layer with keys needs to unseal this."""
        return self._layers[-1].keys(data[len(MAGIC) + DIGEST :]) if is_sealed(data) else []

    def _bound(self, place: Sequence[Any]) -> bytes:
        return json.dumps([self.names, *place], separators=(",", ":")).encode()


def is_sealed(data: bytes) -> bool:
    """Did the content go through layers?"""
    return data.startswith(MAGIC)


def digest_in(data: bytes) -> str:
    """The digest that sealed content begins with; ``unseal`` proves that it is the content's."""
    return data[len(MAGIC) : len(MAGIC) + DIGEST].hex()


def _digest(bound: bytes, data: bytes) -> bytes:
    made = hashlib.blake2b(len(bound).to_bytes(4, "big") + bound, digest_size=DIGEST)
    made.update(data)
    return made.digest()
