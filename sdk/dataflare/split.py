"""What a source is read in and resumed from: splits, positions, demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Any
"""A JSON value; through pydantic also a dataclass, model or TypedDict where a type is declared."""


@dataclass(frozen=True)
class Split:
    """An independently readable part of a source.

    ``id`` names the thing read (a path and a byte range, a partition), never an index. ``data`` is
    what the source needs to read it, ``start`` the position before its first row (committed before
    the first read), ``after`` the splits that must be finished in a committed epoch before this one
    starts, ``size`` an estimate in the source's own unit for progress.
    """

    id: str
    data: Json = None
    start: Json = None
    after: tuple[str, ...] = ()
    size: int | None = None


@dataclass(frozen=True)
class Idle:
    """Nothing to give now. ``after``: seconds until it is worth asking again; ``position`` moves on without rows."""

    after: float | None = None
    position: Json = None


@dataclass(frozen=True)
class Out:
    """Rows for a named output of a processor, or for a named stream of a source."""

    name: str
    rows: Any


@dataclass
class Demand:
    """How much the engine can take: rows, bytes, and until when (monotonic seconds) to answer.

    Live: the engine renews the fields before each step of ``read``, so a generator reads them after each yield.
    """

    rows: int
    bytes: int
    until: float


@dataclass(frozen=True)
class Resume:
    """What an instance continues from.

    ``epoch`` is the last decided epoch (0 on a first start), ``tokens`` the live tokens of this sink
    by lane for that epoch, ``made`` what ``on_created`` answered, ``incarnation`` the life of the flow's state,
    ``watermark`` the event time that a processor was last told of.
    """

    epoch: int = 0
    tokens: Mapping[str, Json] = field(default_factory=dict)
    made: Json = None
    incarnation: str = ""
    position: Json = None
    watermark: datetime | None = None


@dataclass(frozen=True)
class Span:
    """A stretch of event time, start inclusive, end exclusive."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Stream:
    """A stream that a source can discover: its schema, the columns of its key and its cursor column."""

    name: str
    schema: Any = None
    key: tuple[str, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True)
class Refused:
    """Yielded by a source: something that could not be read as rows. It belongs to the next position.

    ``raw`` is what was there (cut to 64 KiB), ``place`` where (for people), ``code`` why.
    """

    code: str
    message: str
    raw: bytes = b""
    place: Json = None
