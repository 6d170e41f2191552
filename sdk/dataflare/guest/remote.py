"""What a component finds in its Context inside a guest: each part asks the host by a frame."""

from __future__ import annotations

import base64
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.context import Context, FixedClock
from dataflare.errors import DataflareError, Kind, Problem, Retry
from dataflare.guest.encoding import Encoding, Json, Part, encode, part_at
from dataflare.guest.frames import Frame
from dataflare.http import Http, Response
from dataflare.resource import Resources

if TYPE_CHECKING:
    from dataflare.batch import Batch

HostCall = Callable[[Frame], Frame]
"""Asks the host, and gives its answer."""
ASK_EVERY = 0.05
"""Seconds between two questions whether the flow stops."""


class Host:
    """The host as seen from one instance of a guest."""

    def __init__(self, call: HostCall, instance: int) -> None:
        self._call = call
        self._instance = instance

    def ask(self, op: str, parts: Sequence[Part] = (), **given: Json) -> Frame:
        """Ask; raises what the host refuses with."""
        answer = self._call(Frame({"op": op, "instance": self._instance, **given}, parts))
        if (error := answer.header.get("error")) is not None:
            problem = problem_from(error)
            if problem.code == "step.retry":
                raise Retry(answer.header.get("after"), problem.message)
            raise error_of(error)
        return answer


def error_of(told: Json) -> DataflareError:
    """The error that ``Problem.as_json`` told of."""
    from dataflare import errors

    problem = problem_from(told)
    named = {"config": errors.ConfigError, "permission": errors.PermissionDenied}
    kind = "permission" if problem.code.startswith("permission.") else problem.kind
    return named.get(kind, errors.Failed)(problem)


def problem_from(told: Json) -> Problem:
    """The problem that ``Problem.as_json`` told of; whatever else a peer says becomes its message."""
    if not isinstance(told, dict):
        return Problem("guest.error", str(told), kind="fatal")
    words = {key: told[key] for key in ("pointer", "cause", "fix", "file") if isinstance(told.get(key), str)}
    kinds: dict[Json, Kind] = {"config": "config", "retry": "retry", "reject": "reject"}
    return Problem(
        str(told.get("code") or "guest.error"),
        str(told.get("message") or ""),
        kind=kinds.get(told.get("kind"), "fatal"),
        details=dict(told.get("details") or {}),
        **words,
    )


KEYS = 1024
"""The most keys in one question about state: their values have to go into a header too."""


class RemoteState:
    """Keyed state that the host keeps; the writes of a failed call are discarded there."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, name: str, keys: Sequence[bytes]) -> list[Json | None]:
        """The values, in the order of the keys."""
        found: list[Json | None] = []
        for start in range(0, len(keys), KEYS):
            found += self._host.ask("state.get", name=name, keys=_texts(keys[start : start + KEYS])).header["values"]
        return found

    def put(self, name: str, keys: Sequence[bytes], values: Sequence[Json | None], ttl: float | None) -> None:
        """New values for keys; None: forget."""
        for start in range(0, len(keys), KEYS):
            part = slice(start, start + KEYS)
            self._host.ask("state.put", name=name, keys=_texts(keys[part]), values=list(values[part]), ttl=ttl)

    def items(self, name: str) -> dict[bytes, Json]:
        """All keys of a state, with their values."""
        return {key: value for part in self.scan(name, KEYS) for key, value in part.items()}

    def scan(self, name: str, most: int) -> Iterator[dict[bytes, Json]]:
        """The same in parts of at most so many keys."""
        words: dict[str, Json] = {"name": name, "limit": min(most, KEYS)}
        while True:
            held = self._host.ask("state.items", **words).header
            if held["keys"]:
                yield {base64.b64decode(key): value for key, value in zip(held["keys"], held["values"], strict=True)}
            if held.get("next") is None:
                return
            words["after"] = held["next"]

    def names(self) -> list[str]:
        """The states that hold something."""
        return list(self._host.ask("state.names").header["names"])


class RemoteTimers:
    """Timers that the host keeps."""

    def __init__(self, host: Host, encoding: Encoding) -> None:
        self._host = host
        self._encoding = encoding

    def set(self, keys: Batch, at: datetime | Sequence[datetime], *, event: bool = True) -> None:
        """Ask to be called for these keys."""
        times = [at] * len(keys) if isinstance(at, datetime) else list(at)
        told = [time.isoformat() for time in times]
        self._host.ask("timers.set", [encode(keys, self._encoding)], at=told, event=event)

    def drop(self, keys: Batch) -> None:
        """Forget the timers of these keys."""
        self._host.ask("timers.drop", [encode(keys, self._encoding)])


class RemoteCancel(threading.Event):
    """Whether the flow stops: the host is asked, at most twenty times a second."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._asked = -math.inf

    def is_set(self) -> bool:
        """True once the flow stops."""
        if not super().is_set() and time.monotonic() - self._asked > ASK_EVERY:
            self._asked = time.monotonic()
            if self._host.ask("cancelled").header.get("value"):
                self.set()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flow stops, or for so many seconds; whether it does."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, ASK_EVERY))
        return self.is_set()


class RemoteMetrics:
    """Counters and gauges under the step's name."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def count(self, name: str, value: float = 1) -> None:
        """Add to a counter."""
        self._host.ask("metric", name=name, kind="count", value=value)

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._host.ask("metric", name=name, kind="gauge", value=value)


class RemoteSecrets:
    """Secrets that the grant names."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def get(self, name: str) -> str:
        """The value. Raises PermissionDenied where it is not granted."""
        return str(self._host.ask("secret", name=name).header["value"])


class RemoteHttp(Http):
    """Requests that the host's broker sends."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None) -> Response:
        """Let the host send a request."""
        words: dict[str, Json] = {"method": method, "url": url, "headers": dict(headers)}
        if timeout is not None:
            words["timeout"] = timeout
        if body:
            words["part"] = 0
        answer = self._host.ask("http", [body] if body else [], **words)
        told = answer.header
        part = told.get("part")
        return Response(
            int(told["status"]),
            {str(name).lower(): str(value) for name, value in (told.get("headers") or {}).items()},
            b"" if part is None else bytes(part_at(answer.parts, part)),
        )


class RemoteStream:
    """An input that the host holds (``dataflare.context.ByteStream``)."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name
        self._ended = False
        self.recv(0, 0.0)  # refused now, if it is not granted

    @property
    def ended(self) -> bool:
        """True once all was received and nothing can follow."""
        return self._ended

    def recv(self, max: int, wait: float) -> bytes:
        """At most ``max`` bytes; empty after ``wait`` seconds without any, and at the end."""
        if self._ended:
            return b""
        answer = self._host.ask("input", name=self._name, max=max, wait=wait)
        self._ended = bool(answer.header.get("end"))
        part = answer.header.get("part")
        return b"" if part is None else bytes(part_at(answer.parts, part))


class RemoteLog(logging.Handler):
    """Log records, written by the host under the step's name."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; a log line that cannot be sent is no reason to fail."""
        try:
            self._host.ask("log", level=record.levelname.lower(), message=self.format(record))
        except Exception:
            self.handleError(record)


def context_of(told: dict[str, Json], host: Host, resources: Resources, encoding: Encoding = "arrow") -> Context:
    """The surroundings of one instance, from what ``open`` says of them."""
    log = logging.Logger(f"dataflare.step.{told.get('step') or 'step'}")
    log.addHandler(RemoteLog(host))

    @contextmanager
    def limited(name: str, rate: str) -> Iterator[None]:
        host.ask("limit", name=name, rate=rate)
        yield

    def limiter(name: str, rate: str) -> AbstractContextManager[None]:
        return limited(name, rate)

    def progress(done: float, total: float | None, note: str) -> None:
        host.ask("progress", done=done, total=total, note=note)

    def request_checkpoint() -> None:
        host.ask("checkpoint")

    return Context(
        **{
            name: told[name] for name in ("id", "flow", "step", "lane", "epoch", "fence", "incarnation") if name in told
        },
        base=Path(told.get("base") or "."),
        cache=Path(told.get("cache") or "."),
        log=log,
        metrics=RemoteMetrics(host),
        http=RemoteHttp(host),
        secrets=RemoteSecrets(host),
        timers=RemoteTimers(host, encoding),
        state=RemoteState(host),
        clock=FixedClock(),
        random=random.Random(0),
        resources=resources.get,
        cancel=RemoteCancel(host),
        on_checkpoint_request=request_checkpoint,
        on_progress=progress,
        limiter=limiter,
        inputs=lambda name: RemoteStream(host, name),
    )


def _texts(keys: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(key).decode() for key in keys]
