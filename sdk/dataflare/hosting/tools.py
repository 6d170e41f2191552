"""The operations of a tool that a guest answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dataflare.hosting.component import remote
from dataflare.json_types import plain_json
from dataflare.split import Json


def _call(self: Any, **given: Any) -> Iterator[Json]:
    ctx = given.pop("ctx")
    given.pop("host", None)
    for answer in remote(self).caller.in_passing("call", ctx, input=plain_json(given)):
        if "progress" in answer.header:
            yield answer.header["progress"]
        elif "output" in answer.header:
            yield answer.header["output"]


ALWAYS: Mapping[str, Callable[..., Any]] = {"call": _call}
WHERE_TOLD: Mapping[str, Callable[..., Any]] = {}
