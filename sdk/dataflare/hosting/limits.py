"""What a guest may use: the least of what its manifest asks for, the operator grants and the host allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dataflare.errors import ConfigError
from dataflare.types import parse_bytes, parse_duration


@dataclass(frozen=True)
class Limits:
    """Limits of one guest. ``None``: the loader's own.

    ``memory`` and ``stack`` are in bytes, ``wall_per_batch`` in seconds a call; ``output_ratio``: bytes that an answer
    may have for each byte of the request (64 KiB are always allowed).
    """

    memory: int | None = None
    stack: int | None = None
    wall_per_batch: float | None = None
    output_ratio: float | None = None

    @classmethod
    def of(cls, *given: Mapping[str, Any] | None) -> Limits:
        """The least of what each says. Raises ConfigError ``plugin.limits`` for what is not a limit."""
        least: dict[str, Any] = {}
        for limits in given:
            for name, value in (limits or {}).items():
                read = _read(name, value)
                least[name] = read if name not in least else min(least[name], read)
        return cls(**least)


def _read(name: str, value: Any) -> float:
    if name not in {field.name for field in fields(Limits)}:
        known = ", ".join(f"`{field.name}`" for field in fields(Limits))
        raise ConfigError.of("plugin.limits", f"there is no limit `{name}`", fix=f"limits are {known}")
    try:
        if name in ("memory", "stack"):
            return parse_bytes(value)
        return parse_duration(value) if name == "wall_per_batch" else float(value)
    except (ValueError, TypeError) as error:
        raise ConfigError.of("plugin.limits", f"`{name}` cannot be `{value}`", cause=str(error)) from error
