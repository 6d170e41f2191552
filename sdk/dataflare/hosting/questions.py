"""Answers what a guest asks while it works, from the Context of the component that is called."""

from __future__ import annotations

import base64
import json
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, PermissionDenied, Retry, problem_of
from dataflare.guest.encoding import Encoding, Part, decode, part_at
from dataflare.guest.frames import Frame

if TYPE_CHECKING:
    from dataflare.context import Context
    from dataflare.schema import Schema

Json = Any
Given = tuple[dict[str, Json], list[Part]]
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}
_LOG_LIMIT = 16 * 1024
PAGE = 1_024
PAGE_BYTES = 512 << 10
"""How many keys of a state, and bytes of them and their values, are told at once."""
INPUT_BYTES = 8 << 20
INPUT_SECONDS = 10.0
"""How much of an input a question is given at once, and how long it may wait for it."""


class Answers:
    """The host of one component: it answers questions with what that component's Context holds."""

    def __init__(self, context: Context, encoding: Encoding = "arrow", keys: Schema | None = None) -> None:
        self._context = context
        self._encoding = encoding
        self._keys = keys
        """The key columns: what keys of timers are read as where they are JSON rows."""
        self._scanned: dict[str, list[tuple[bytes, Json]]] = {}
        """What the running call reads in pages: a state, in the order of its keys."""

    def __call__(self, frame: Frame) -> Frame:
        """The answer. Never raises: a refusal is an answer with ``error``."""
        try:
            question = _QUESTIONS.get(str(frame.header.get("op")))
            if question is None:
                raise ConfigError.of("guest.unknown_question", f"there is no question `{frame.header.get('op')}`")
            return Frame(*question(self, frame.header, frame))
        except Exception as error:
            told = {"error": problem_of(error, "guest.question_failed").as_json()}
            return Frame({**told, "after": error.after} if isinstance(error, Retry) else told)

    def settled(self) -> None:
        """The running call was answered."""
        self._scanned.clear()

    # --- state and timers ------------------------------------------------------------------------------

    def _state_get(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        return {"values": self._state().get(str(header["name"]), _keys(header))}, []

    def _state_put(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        keys, values, ttl = _keys(header), list(header["values"]), header.get("ttl")
        if len(keys) != len(values):
            raise ConfigError.of("state.length", f"{len(values)} values for {len(keys)} keys")
        self._state().put(str(header["name"]), keys, values, None if ttl is None else float(ttl))
        return {}, []

    def _state_items(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        """A page, in the order of the keys; ``next`` where more follows."""
        name, after = str(header["name"]), header.get("after")
        if after is None or name not in self._scanned:
            self._scanned[name] = sorted(self._state().items(name).items(), key=_key)
        held = self._scanned[name]
        first = 0 if after is None else bisect_right(held, base64.b64decode(after, validate=True), key=_key)
        page = list(_page(held, first, max(1, min(int(header.get("limit", PAGE)), PAGE))))
        told = {"keys": [base64.b64encode(key).decode() for key, _ in page], "values": [value for _, value in page]}
        if first + len(page) < len(held):
            return {**told, "next": told["keys"][-1]}, []
        del self._scanned[name]
        return told, []

    def _state_names(self, _header: Mapping[str, Json], _frame: Frame) -> Given:
        return {"names": list(self._state().names())}, []

    def _timers_set(self, header: Mapping[str, Json], frame: Frame) -> Given:
        times = [datetime.fromisoformat(str(at)) for at in header["at"]]
        self._context.timers.set(self._rows(frame), times, event=bool(header.get("event", True)))
        return {}, []

    def _timers_drop(self, _header: Mapping[str, Json], frame: Frame) -> Given:
        self._context.timers.drop(self._rows(frame))
        return {}, []

    # --- what the grant holds ---------------------------------------------------------------------------

    def _secret(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        return {"value": self._context.secrets.get(str(header["name"]))}, []

    def _http(self, header: Mapping[str, Json], frame: Frame) -> Given:
        part, timeout = header.get("part"), header.get("timeout")
        answer = self._context.http.send(
            str(header["method"]).upper(),
            str(header["url"]),
            {str(name): str(value) for name, value in (header.get("headers") or {}).items()},
            b"" if part is None else bytes(part_at(frame.parts, part)),
            None if timeout is None else float(timeout),
        )
        return {"status": answer.status, "headers": dict(answer.headers), "part": 0}, [answer.content]

    def _input(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        stream = self._context.input(str(header["name"]))
        most, wait = min(int(header["max"]), INPUT_BYTES), min(float(header["wait"]), INPUT_SECONDS)
        given = stream.recv(most, wait)
        return {"part": 0, **({"end": True} if stream.ended else {})}, [given]

    # --- telling -----------------------------------------------------------------------------------------

    def _metric(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        metrics, name, value = self._context.metrics, str(header["name"]), float(header["value"])
        (metrics.gauge if header.get("kind") == "gauge" else metrics.count)(name, value)
        return {}, []

    def _log(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        level = _LEVELS.get(str(header.get("level")), logging.INFO)
        self._context.log.log(level, "%s", str(header.get("message"))[:_LOG_LIMIT])
        return {}, []

    def _limit(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        with self._context.limit(str(header["name"]), str(header["rate"])):
            return {}, []

    def _checkpoint(self, _header: Mapping[str, Json], _frame: Frame) -> Given:
        self._context.request_checkpoint()
        return {}, []

    def _progress(self, header: Mapping[str, Json], _frame: Frame) -> Given:
        total = header.get("total")
        note = str(header.get("note") or "")
        self._context.progress(float(header["done"]), None if total is None else float(total), note)
        return {}, []

    def _cancelled(self, _header: Mapping[str, Json], _frame: Frame) -> Given:
        return {"value": self._context.cancelled}, []

    def _state(self) -> Any:
        if self._context.state is None:
            raise PermissionDenied.of("state.unavailable", "this component has no state: it declares no key")
        return self._context.state

    def _rows(self, frame: Frame) -> Any:
        return decode(part_at(frame.parts, frame.header.get("part", 0)), self._encoding, self._keys)


_QUESTIONS: Mapping[str, Callable[[Answers, Mapping[str, Json], Frame], Given]] = {
    "state.get": Answers._state_get,
    "state.put": Answers._state_put,
    "state.items": Answers._state_items,
    "state.names": Answers._state_names,
    "timers.set": Answers._timers_set,
    "timers.drop": Answers._timers_drop,
    "secret": Answers._secret,
    "http": Answers._http,
    "input": Answers._input,
    "metric": Answers._metric,
    "log": Answers._log,
    "limit": Answers._limit,
    "checkpoint": Answers._checkpoint,
    "progress": Answers._progress,
    "cancelled": Answers._cancelled,
}


def _key(item: tuple[bytes, Json]) -> bytes:
    return item[0]


def _page(held: Sequence[tuple[bytes, Json]], first: int, most: int) -> Iterator[tuple[bytes, Json]]:
    """What of a state fits into one header: at least one item, where there is one."""
    left = PAGE_BYTES
    for number, (key, value) in enumerate(islice(held, first, first + most)):
        left -= 2 * len(key) + len(json.dumps(value))
        if number and left < 0:
            return
        yield key, value


def _keys(header: Mapping[str, Json]) -> list[bytes]:
    return [base64.b64decode(key, validate=True) for key in header["keys"]]
