"""What an author's types look like as JSON: positions, tokens, keyed state, answers of tools."""

from __future__ import annotations

import json
import operator
from functools import lru_cache
from math import isfinite
from typing import Any

from dataflare.errors import ConfigError

_SCALARS = (bool, int, float, str, type(None))
_EXACT = frozenset((bool, int, str, type(None)))
"""Types whose values are JSON as they are, without a look at each."""


class JsonType:
    """Turns values of one type into JSON and back.

    ``what`` names the value in errors (``position``), ``kind`` is the author's type or None. Values of
    JSON's own types take a fast path; everything else goes through pydantic.
    """

    def __init__(self, kind: Any, what: str) -> None:
        self.kind = kind
        self.what = what
        self._plain = kind in (None, Any, type(None), bool, int, float, str) or _is_plain_container(kind)

    def load(self, value: Any) -> Any:
        """The author's value of JSON. Raises ConfigError (``<what>.type``) where it does not fit."""
        if value is None:
            return None
        if self._plain:
            return value if isinstance(value, _SCALARS) else json.loads(json.dumps(value))
        try:
            return _adapter(self.kind).validate_json(json.dumps(value))
        except ValueError as error:
            raise self._misfit(value, error) from error

    def dump(self, value: Any) -> Any:
        """A value as JSON: a copy, so that later changes do not reach it. Raises ConfigError (``<what>.json``)."""
        if isinstance(value, _SCALARS) and type(value) in _SCALARS:
            return self._finite(value)
        if not self._plain:
            try:
                return _adapter(self.kind).dump_python(value, mode="json", warnings="error")
            except ValueError as error:
                raise self._misfit(value, error) from error
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            if hasattr(value, "__index__"):
                return operator.index(value)
            raise ConfigError.of(
                f"{self.what}.json",
                f"this {self.what} is not JSON: {value!r}",
                cause=str(error),
                fix=f"give plain JSON, or annotate the type of the {self.what} so that pydantic can turn it into JSON",
            ) from error

    def load_all(self, values: list[Any]) -> list[Any]:
        """``load`` of each; None stays None."""
        if self._plain and _EXACT.issuperset(map(type, values)):
            return values
        return [self.load(value) for value in values]

    def dump_all(self, values: list[Any]) -> list[Any]:
        """``dump`` of each; None stays None."""
        if self._plain and _EXACT.issuperset(map(type, values)):
            return values
        return [None if value is None else self.dump(value) for value in values]

    def _finite(self, value: Any) -> Any:
        if isinstance(value, float) and value - value != 0:
            raise ConfigError.of(
                f"{self.what}.json", f"{value!r} is not JSON, as a {self.what}", fix="give a finite number"
            )
        return value

    def _misfit(self, value: Any, error: Exception) -> ConfigError:
        name = getattr(self.kind, "__name__", str(self.kind))
        text = repr(value)
        return ConfigError.of(
            f"{self.what}.type",
            f"this {self.what} is not a `{name}`: {text if len(text) <= 200 else text[:200] + '…'}",
            cause=str(error).splitlines()[0],
        )


def plain_json(value: Any) -> Any:
    """Any value as JSON, by pydantic's rules: for answers that no type describes. What is not a number is null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, _SCALARS):
        return value
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: plain_json(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [plain_json(item) for item in value]
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=_of_arrow)


def _of_arrow(value: Any) -> Any:
    for method in ("to_rows", "to_pylist", "as_py"):
        if hasattr(value, method):
            return plain_json(getattr(value, method)())
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        from dataflare.batch import Batch

        return plain_json(Batch.of(value).to_rows())
    return str(value)


def _is_plain_container(kind: Any) -> bool:
    if kind in (list, dict):
        return True
    origin, arguments = getattr(kind, "__origin__", None), getattr(kind, "__args__", ())
    return origin in (list, dict) and all(argument in (Any, bool, int, float, str) for argument in arguments)


@lru_cache(maxsize=256)
def _cached_adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    from dataflare.config_types import pydantic_type

    if kind is bytes:
        return TypeAdapter(kind, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
    return TypeAdapter(pydantic_type(kind))


def _adapter(kind: Any) -> Any:
    try:
        return _cached_adapter(kind)
    except TypeError:
        from pydantic import TypeAdapter

        return TypeAdapter(kind)
