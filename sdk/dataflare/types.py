"""The words of a configuration: durations, sizes, columns, expressions, secrets, other components."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar, get_args

from dataflare.arrow_types import arrow_type as arrow_type
from dataflare.arrow_types import schema_of as schema_of
from dataflare.config_types import Hidden
from dataflare.errors import ConfigError

C = TypeVar("C")

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
_HIDDEN = "***"
_REFERENCE = re.compile(r"^\$\{secret:([^}]+)\}$")


def parse_duration(text: str | float) -> float:
    """Seconds of a duration: ``500ms``, ``1s``, ``2m``, ``1h``, ``1d``, ``1h30m`` or a number of seconds.

    Raises ValueError with what is expected.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError("expected a duration such as 500ms, 1s, 2m or 1h")
    if not isinstance(text, str):
        return _not_negative(float(text))
    words = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", words):
        return float(words)
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", words)
    if not parts or "".join(number + unit for number, unit in parts) != re.sub(r"\s+", "", words):
        raise ValueError(f"expected a duration such as 500ms, 1s, 2m or 1h, not {text!r}")
    unknown = [unit for _, unit in parts if unit not in _SECONDS]
    if unknown:
        raise ValueError(f"unknown unit {unknown[0]!r} in {text!r}: use us, ms, s, m, h, d or w")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_bytes(text: str | float) -> int:
    """Bytes of a size: ``16MiB`` (1024s), ``1MB`` (1000s), ``512`` or a number of bytes. Raises ValueError."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and text == text // 1:
        return int(_not_negative(text))
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"expected a size such as 16MiB, 1MB or 4096, not {text!r}")
    number, unit = found.groups()
    if unit.lower() not in _SIZES:
        raise ValueError(f"unknown unit {unit!r} in {text!r}: use B, kB, MB, GB, KiB, MiB or GiB")
    return round(float(number) * int(_SIZES[unit.lower()]))


def _not_negative(number: float) -> float:
    if not 0 <= number < float("inf"):
        raise ValueError(f"expected a number from 0 on, not {number!r}")
    return number


def _columns(value: Any) -> Any:
    if isinstance(value, (str, list, tuple, set, frozenset)):
        return (value,) if isinstance(value, str) else value
    raise ValueError("expected a text or a list of texts")


@dataclass(frozen=True)
class Word:
    """Metadata of a configuration type that is written as a word: how it is read, and how its schema looks."""

    name: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any] = field(hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return dict(self.schema)


Duration = Annotated[
    float, Word("duration", parse_duration, {"type": ["number", "string"], "format": "duration", "examples": ["500ms"]})
]
"""Seconds; written ``500ms``, ``1s``, ``2m``, ``1h``, ``1d`` or as a number of seconds."""

Bytes = Annotated[
    int, Word("bytes", parse_bytes, {"type": ["integer", "string"], "format": "bytes", "examples": ["16MiB"]})
]
"""A number of bytes; written ``16MiB``, ``1MB`` or as a number."""

Columns = Annotated[
    tuple[str, ...],
    Word(
        "columns",
        _columns,
        {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}], "format": "columns"},
    ),
]
"""Column names; a single one may be written without a list."""

Expr = Annotated[str, Word("expression", lambda value: value, {"type": "string", "format": "expression"})]
"""An expression over the columns of a row."""


class Secret:
    """A value that is never shown: not by ``str``, ``repr``, a log, an error or a dump of the configuration.

    Written ``${secret:NAME}``, it is known by that reference until the host puts the value in its place.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, value: str | None = None, reference: str | None = None) -> None:
        found = _REFERENCE.match(value) if value is not None else None
        self.reference = found.group(1) if found else reference
        self._value = None if found else value

    def get(self) -> str:
        """The value. Raises ConfigError (``config.secret_unresolved``) while only the reference is known."""
        if self._value is None:
            raise ConfigError.of(
                "config.secret_unresolved",
                f"the secret `{self.reference}` has no value here",
                fix="read it in `open` or later: the host puts secrets in place before it opens a component",
            )
        return self._value

    def dump(self) -> str:
        """What a configuration shows of it: ``${secret:NAME}``, or stars for a value without a name."""
        return f"${{secret:{self.reference}}}" if self.reference else _HIDDEN

    def __repr__(self) -> str:
        return f"Secret({self.dump()})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._value, self.reference) == (other._value, other.reference)

    def __hash__(self) -> int:
        return hash((self._value, self.reference))

    @classmethod
    def _read(cls, value: Any) -> Secret:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise Hidden("expected a text or a reference such as ${secret:NAME}")
        if value == _HIDDEN:
            raise Hidden("this value was hidden when the configuration was written down: give it again")
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        shown = core_schema.plain_serializer_function_ser_schema(cls.dump)
        return core_schema.no_info_plain_validator_function(cls._read, serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True, "x-secret": True}


class Uses(Generic[C]):
    """Another component as configuration: ``codec: Uses[Codec]``, written ``std/jsonl`` or ``{uses, with}``.

    The host finds the component and binds it; ``get`` gives it from ``open`` on.
    """

    def __init__(self, uses: str, config: Mapping[str, Any] | None = None, kind: str = "") -> None:
        self.uses = uses
        self.config = dict(config or {})
        self.kind = kind
        self.bound: C | None = None

    def get(self) -> C:
        """The component. Raises ConfigError (``config.uses_unresolved``) before the host bound it."""
        if self.bound is None:
            raise ConfigError.of(
                "config.uses_unresolved",
                f"the {self.kind or 'component'} `{self.uses}` is not there yet",
                fix="use it in `open` or later: the host puts components in place before it opens this one",
            )
        return self.bound

    def bind(self, component: C) -> None:
        """Put the component in place."""
        self.bound = component

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Uses) and (self.uses, self.config) == (other.uses, other.config)

    def __hash__(self) -> int:
        return hash(self.uses)

    def __repr__(self) -> str:
        return f"Uses({self.uses!r}, {self.config!r})"

    def dump(self) -> Any:
        """As it is written in a flow."""
        return {"uses": self.uses, "with": self.config} if self.config else self.uses

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        wanted = get_args(source)
        kind = str(getattr(wanted[0], "kind", "")) if wanted else ""
        shown = core_schema.plain_serializer_function_ser_schema(cls.dump)
        return core_schema.no_info_plain_validator_function(lambda value: _uses(value, kind), serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        whole = {
            "type": "object",
            "properties": {"uses": {"type": "string"}, "with": {"type": "object"}},
            "required": ["uses"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, whole], "x-uses": True}


def _uses(value: Any, kind: str) -> Uses[Any]:
    if isinstance(value, Uses):
        return value
    if isinstance(value, str) and value.strip():
        return Uses(value, kind=kind)
    if isinstance(value, Mapping) and isinstance(value.get("uses"), str) and not set(value) - {"uses", "with"}:
        given = value.get("with") or {}
        if isinstance(given, Mapping):
            return Uses(value["uses"], dict(given), kind)
    raise ValueError(f"expected the name of a {kind or 'component'}, or {{uses: NAME, with: {{...}}}}")
