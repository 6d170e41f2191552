"""``${env:NAME}`` and ``${secret:NAME}``: the only substitutions in a flow."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import Any

from dataflare_flow.document import child
from dataflare_flow.words import Reading

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")
_WRITTEN = re.compile(r"\$\{[^}]*\}")
_SECRET = re.compile(r"\$\{secret:([A-Za-z_][A-Za-z0-9_.-]*)\}\Z")
_VARIABLE = re.compile(r"(env|secret):([A-Za-z_][A-Za-z0-9_.-]*)\Z")


def substituted(reading: Reading, value: Any, pointer: str = "") -> Any:
    """The value as JSON with ``${env:NAME}`` put in; ``${secret:NAME}`` stays, as a whole value below ``with``."""
    if isinstance(value, str):
        return _substituted_text(reading, value, pointer)
    if isinstance(value, Mapping):
        return {str(key): substituted(reading, item, child(pointer, key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [substituted(reading, item, child(pointer, index)) for index, item in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    reading.note(pointer, "flow.not_json", f"a {type(value).__name__} cannot stand in a flow", "give JSON values")
    return None


def escaped(value: Any) -> Any:
    """JSON as it is written in a flow, so that reading it puts nothing in; whole secrets stay references."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, str) and "${" in value and secret_name(value) is None:
        return _WRITTEN.sub(lambda found: f"${found[0]}", value)
    return value


def secret_name(value: Any) -> str | None:
    """NAME, where the value is ``${secret:NAME}``."""
    found = _SECRET.match(value) if isinstance(value, str) else None
    return found[1] if found else None


def _substituted_text(reading: Reading, value: str, pointer: str) -> str:
    def replace(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        known = _VARIABLE.match(found[2])
        if known is None:
            fix = f"write `${{env:{found[2]}}}`, or `$${{…}}` for the text itself"
            message = f"`{found[0]}` is not known: only `${{env:NAME}}` and `${{secret:NAME}}` are put in"
            reading.note(pointer, "flow.substitution", message, fix)
        elif known[1] == "env":
            return _variable(reading, known[2], pointer)
        elif found[0] != value:
            message = f"`{found[0]}` must be the whole value: a secret is never mixed with other text"
            reading.note(pointer, "flow.secret_part", message, "put the whole text into the secret")
        elif "/with/" not in pointer:
            reading.note(pointer, "flow.secret_place", "a secret can stand below `with` only", "write the value itself")
        return found[0]

    return _REFERENCE.sub(replace, value) if "${" in value else value


def _variable(reading: Reading, name: str, pointer: str) -> str:
    found = os.environ.get(name)
    if found is None:
        reading.note(pointer, "flow.env_unset", f"the environment variable `{name}` is not set", f"set `{name}`")
    return found or ""
