"""Calls one component of a guest: on an open instance of its own, or in passing.

A lost guest is replaced at the next call where nothing was lost with it; else the epoch is repeated.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from dataflare.errors import ConfigError, Failed, InstanceLost, Problem, Reject, Retry
from dataflare.guest.encoding import Encoding, Part, encode
from dataflare.guest.frames import Frame
from dataflare.guest.remote import error_of, problem_from
from dataflare.hosting.minors import adapted
from dataflare.hosting.questions import Answers
from dataflare.hosting.transport import GuestLost, Transport

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.context import Context
    from dataflare.hosting.limits import Limits
    from dataflare.hosting.transport import Guests
    from dataflare.schema import Schema
    from dataflare.split import Resume

Json = Any
Losing = Literal["call", "epoch", "never"]
"""What is lost with an instance: only the running call; all since the last epoch; nothing, so it is called for ever."""
WALL = 60.0
"""Seconds that a call may take where no limit says less."""
_QUICK = frozenset(("process", "write", "timer", "watermark", "read", "call"))
"""What ``wall_per_batch`` bounds; the others may take as long as calls may without it."""
MORE = 10_000
"""Answers that one question may have."""
_NUMBERS = itertools.count(1)


class Caller:
    """One component, configured, as seen by its host. One call at a time."""

    def __init__(
        self, guests: Guests, limits: Limits, component: str, config: Mapping[str, Json], encoding: Encoding, minor: str
    ) -> None:
        self.encoding = encoding
        self._guests = guests
        self._limits = limits
        self._minor = minor
        """Of the contract, as the guest speaks it."""
        self._words: dict[str, Json] = {"component": component, "config": dict(config)}
        self._transport: Transport | None = None
        self._number = 0
        self._opening: dict[str, Json] | None = None
        """What ``open`` was told: a fresh instance is told the same."""
        self._answers: Answers | None = None
        self._losses = 0
        self._holds = False
        """Whether the instance has what is lost with it: what was called for an epoch."""
        self._gone: Problem | None = None
        """How an instance was lost that held something: nobody may take a fresh one for it."""
        self._turn = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it was opened and not closed: then calls go to an instance of its own."""
        return self._opening is not None

    @property
    def memory(self) -> int | None:
        """Bytes that the guest of the open instance holds now, where its transport can tell."""
        return getattr(self._transport, "memory", None)

    def open(self, ctx: Context, resume: Resume, inputs: Mapping[str, Schema], keys: Schema | None) -> None:
        """Open an instance. Raises what the guest refuses with, GuestLost."""
        self._answers = Answers(ctx, self.encoding, keys)
        self._holds, self._gone = False, None
        self._opening = {
            **self._words,
            "encoding": self.encoding,
            "schemas": {name: schema.as_json() for name, schema in inputs.items()},
            "context": context_words(ctx),
            "resume": {
                "epoch": resume.epoch,
                "tokens": dict(resume.tokens),
                "made": resume.made,
                "incarnation": resume.incarnation,
                "position": resume.position,
            },
        }
        try:
            self._ready()
        except GuestLost as error:
            self._opening = None
            raise self._judged(error, "call") from error
        except BaseException:
            self._opening = None
            raise

    def grown(self, inputs: Mapping[str, Schema]) -> None:
        """The inputs have these schemas from now on: for an instance that has to be opened again."""
        if self._opening is not None:
            self._opening["schemas"] = {name: schema.as_json() for name, schema in inputs.items()}

    def settled(self) -> None:
        """What was called for the epoch is safe outside of the instance."""
        self._holds = False

    def renew(self) -> bool:
        """Close the instance if its guest is worn; the next call opens a fresh one. Whether that was so.

        For moments when the instance holds nothing, or what it holds was taken out of it.
        """
        if (transport := self._transport) is None or not self._guests.is_worn(transport):
            return False
        opening = self._opening
        with suppress(Exception):
            self.close()
        transport.close()
        self._opening, self._holds = opening, False
        return True

    def close(self) -> None:
        """Close the instance, and give its guest back."""
        transport, self._transport, self._opening = self._transport, None, None
        if transport is None or self._answers is None:
            return
        try:
            answer = self._sent(transport, Frame({"op": "close", "instance": self._number}), self._answers)
        except GuestLost:
            return
        if "error" in answer.header:
            transport.close()
            raise raised(answer)
        self._guests.give_back(transport)

    def abandon(self) -> None:
        """End the guest under the call that runs now, which then raises. From any thread."""
        if (transport := self._transport) is not None:
            transport.close()

    def encode(self, batch: Batch) -> Part:
        """A batch for the next call; a large one lies where the guest reads it without a copy, if that can be."""
        return encode(batch, self.encoding, getattr(self._transport, "room", None))

    def ask(self, op: str, parts: Sequence[Part] = (), *, losing: Losing = "call", **words: Json) -> Frame:
        """The answer of the open instance. Raises what the guest raised.

        Of a lost guest: a problem of the kind ``retry`` where the call may be repeated (once, or with ``never`` as
        often as it takes), InstanceLost where the epoch must be.
        """
        with self._turn:
            if self._gone is not None and losing == "epoch":
                raise InstanceLost(self._gone)
            try:
                transport = self._ready()
                request = Frame({"op": op, "instance": self._number, **words}, parts)
                assert self._answers is not None
                answer = self._sent(transport, request, self._answers)
            except GuestLost as error:
                self._transport = None
                if self._holds:
                    self._gone = replace(error.problems[0], kind="retry")
                raise self._judged(error, losing) from error
            self._losses = 0
            self._holds |= losing == "epoch"
        if "error" in answer.header:
            raise raised(answer)
        return answer

    def all(self, op: str, *, losing: Losing = "call", **words: Json) -> Iterator[Frame]:
        """The answers of the open instance, until one has no ``more``."""
        answer = self.ask(op, losing=losing, **words)
        for _ in range(MORE):
            if not answer.header.get("more"):
                return
            yield answer
            answer = self.ask("continue", losing="epoch", **words)
        self._endless(op)

    def in_passing(self, op: str, ctx: Context, parts: Sequence[Part] = (), **words: Json) -> Iterator[Frame]:
        """The answers of a guest that is borrowed for this one question. Raises what it raised, GuestLost."""
        transport, answers = self._guests.take(), Answers(ctx, self.encoding)
        request = Frame({"op": op, **self._words, "context": context_words(ctx), **words}, parts)
        done = False
        try:
            answer = self._sent(transport, request, answers)
            for _ in range(MORE):
                if not answer.header.get("more"):
                    break
                yield answer
                answer = self._sent(transport, Frame({"op": "continue"}), answers)
            else:
                self._endless(op)
            done = True
        finally:
            if done:
                self._guests.give_back(transport)
            else:
                transport.close()
        if "error" in answer.header:
            raise raised(answer)
        yield answer

    def once(self, op: str, ctx: Context, parts: Sequence[Part] = (), **words: Json) -> Frame:
        """The one answer to a question asked in passing."""
        *_, last = self.in_passing(op, ctx, parts, **words)
        return last

    def anyhow(self, op: str, ctx: Context | None, parts: Sequence[Part] = (), **words: Json) -> Frame:
        """The answer of the open instance, or of a guest in passing where none is open."""
        if self.is_open:
            return self.ask(op, parts, **words)
        from dataflare.context import Context

        return self.once(op, ctx or Context(), parts, **words)

    def _ready(self) -> Transport:
        """The guest with the open instance; a fresh one, if the last was lost."""
        if self._transport is not None:
            return self._transport
        if self._opening is None or self._answers is None:
            raise Failed.of("guest.closed", f"`{self._words['component']}` was called while it is not open")
        transport, self._number = self._guests.take(), next(_NUMBERS)
        request = Frame({"op": "open", "instance": self._number, **self._opening})
        answer = self._sent(transport, request, self._answers)
        if "error" in answer.header:
            self._guests.give_back(transport)
            raise raised(answer)
        self._transport = transport
        return transport

    def _sent(self, transport: Transport, request: Frame, answers: Answers) -> Frame:
        op = request.header["op"]
        limit = self._limits.wall_per_batch
        seconds = limit if limit is not None and op in _QUICK else WALL
        call = adapted(self._minor, lambda frame, answering: transport.call(frame, answering, seconds))
        try:
            return call(request, answers)
        finally:
            answers.settled()

    def _endless(self, op: str) -> NoReturn:
        message = f"`{self._words['component']}` does not come to an end with `{op}`"
        raise GuestLost.of("guest.output", message, cause=f"it gave {MORE:,} answers, each with `more`")

    def _judged(self, error: GuestLost, losing: Losing) -> Failed:
        self._losses += 1
        again = replace(error.problems[0], kind="retry")
        if losing == "epoch":
            return InstanceLost(again)
        return GuestLost(again if losing == "never" or self._losses == 1 else error.problems[0])


def context_words(ctx: Context) -> dict[str, Json]:
    """What a guest is told of the lane that a component runs in."""
    names = ("id", "flow", "step", "lane", "epoch", "fence", "incarnation")
    return {**{name: getattr(ctx, name) for name in names}, "base": str(ctx.base), "cache": str(ctx.cache)}


def raised(answer: Frame) -> Exception:
    """What an answer with ``error`` raises here: the same as the component did there."""
    header = answer.header
    problem = problem_from(header["error"])
    if problem.kind == "reject":
        return Reject(problem.code, problem.message)
    if problem.kind == "retry" and ("after" in header or "retry_rows" in header):
        after = header.get("after")
        return Retry(None if after is None else float(after), problem.message, rows=header.get("retry_rows"))
    others = [problem_from(told) for told in header.get("problems") or ()]
    if others and problem.kind == "config":
        return ConfigError(*others)
    return error_of(header["error"])
