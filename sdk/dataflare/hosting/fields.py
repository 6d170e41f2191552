"""Configuration fields from a JSON Schema: what a guest says of its configuration, checked like that of a class.

Plain types become Python's, so that a flow's mistakes are told in the same words; everything else is checked by the
schema itself (``jsonschema``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from dataflare.errors import ConfigError
from dataflare.fields import Field
from dataflare.types import Bytes, Columns, Duration, Secret

Json = Any
_PLAIN: Mapping[str, Any] = {"integer": int, "number": float, "boolean": bool, "string": str}
_WORDS: Mapping[str, Any] = {"duration": Duration, "bytes": Bytes, "columns": Columns}
_BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "multipleOf": "multiple_of",
    "pattern": "pattern",
}
_KNOWN = frozenset(
    (*_BOUNDS, "type", "title", "description", "default", "format", "examples", "enum", "writeOnly", "items", "anyOf")
)


def fields_of_schema(schema: Mapping[str, Json]) -> dict[str, Field]:
    """The fields that an object's JSON Schema describes. Raises ConfigError ``guest.config_schema``."""
    properties = schema.get("properties") or {}
    if not isinstance(properties, Mapping):
        raise ConfigError.of("guest.config_schema", "`properties` of a configuration's schema is not an object")
    required = frozenset(schema.get("required") or ())
    rest = {key: value for key, value in schema.items() if key in ("$defs", "definitions")}
    return {name: _field(name, dict(told), name in required, rest) for name, told in properties.items()}


def _field(name: str, told: dict[str, Json], required: bool, rest: Mapping[str, Json]) -> Field:
    annotation = _annotation(told, rest)
    plain = annotation in _PLAIN.values() or annotation is Secret or annotation in _WORDS.values()
    bounds = {ours: told[theirs] for theirs, ours in _BOUNDS.items() if theirs in told} if plain else {}
    default = ... if required else told.get("default")
    if default is None and plain and not required:
        annotation = annotation | None
    when = told.get("x-when")
    return Field(
        default=default,
        help=str(told.get("description") or ""),
        choices=tuple(told["enum"]) if "enum" in told else None,
        when=dict(when) if isinstance(when, Mapping) else None,
        advanced=bool(told.get("x-advanced")),
        bounds=bounds,
        name=name,
        annotation=annotation,
    )


def _annotation(told: Mapping[str, Json], rest: Mapping[str, Json]) -> Any:
    if told.get("x-secret"):
        return Secret
    if told.get("format") in _WORDS:
        return _WORDS[told["format"]]
    strange = [key for key in told if key not in _KNOWN and not key.startswith("x-")]
    kind = told.get("type")
    if not strange and isinstance(kind, str) and kind in _PLAIN and "anyOf" not in told:
        return _PLAIN[kind]
    return Annotated[Any, BySchema({**told, **rest})]


@dataclass(frozen=True)
class BySchema:
    """Metadata of a configuration type: its values are what a JSON Schema allows."""

    schema: Mapping[str, Json] = field(hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self._checked)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return dict(self.schema)

    def _checked(self, value: Any) -> Any:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match

        wrong = best_match(Draft202012Validator(dict(self.schema)).iter_errors(value))
        if wrong is not None:
            place = "/".join(str(part) for part in wrong.absolute_path)
            raise ValueError(f"{wrong.message}" + (f" (at {place})" if place else ""))
        return value
