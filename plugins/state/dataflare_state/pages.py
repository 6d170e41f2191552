"""Keyed state as sealed pages: the keys that an epoch changed are one page, and small pages become larger ones.

A page is one key of the store underneath, so a layer is called once an epoch and state rather than once a key, and
the store sees neither keys nor values nor which of them are equal. Which pages make up a state stands in the sealed
checkpoint, with their digests: a page that is missing, changed or older than it should be is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from dataflare.checkpoint import StateChange
from dataflare_state import pieces

FAN = 8
"""This many pages of a level become one of the next."""
SMALL = 1 << 14
"""Rows of a page of the lowest level."""
MANY = 64
"""More pages than this become one, whatever their sizes."""


@dataclass(frozen=True)
class Page:
    """Changes of one state: its key in the store below, its digest; ``gone``: the epoch that no longer names it."""

    step: str
    name: str
    id: str
    level: int
    digest: str
    rows: int = 0
    gone: int = 0

    @property
    def below(self) -> str:
        """The state of the store below that holds it: one a level, so that small pages are read without large ones."""
        return f"{self.name}/{self.level}"

    @property
    def epoch(self) -> int:
        """The epoch that it was written with."""
        return int(self.id.partition("-")[0])


@dataclass
class Book:
    """The pages of a region as one epoch names them, oldest first for each state."""

    pages: list[Page] = field(default_factory=list)
    gone: list[Page] = field(default_factory=list)
    """Pages that only kept older epochs name."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Book:
        """The book that ``as_json`` wrote."""
        return cls([Page(*page) for page in value["pages"]], [Page(*page) for page in value["gone"]])

    def as_json(self) -> dict[str, Any]:
        """The book as JSON."""
        return {name: [astuple(page) for page in getattr(self, name)] for name in ("pages", "gone")}

    def of(self, step: str, name: str) -> list[Page]:
        """The pages of one state, oldest first."""
        return [page for page in self.pages if (page.step, page.name) == (step, name)]

    def states(self) -> list[tuple[str, str]]:
        """The states that have pages."""
        return sorted({(page.step, page.name) for page in self.pages})


Seal = Callable[[Page, bytes], tuple[Page, bytes]]
Read = Callable[[Sequence[Page]], list[bytes]]


def next_book(
    book: Book, epoch: int, oldest: int, changed: Iterable[StateChange], seal: Seal, read: Read
) -> tuple[Book, list[StateChange]]:
    """The book of the next epoch, and what it changes in the store below.

    ``oldest``: the oldest epoch that is kept; pages that none since then names are forgotten.
    """
    made, below = Book(list(book.pages)), list[StateChange]()
    by_state: dict[tuple[str, str], list[StateChange]] = {}
    for change in changed:
        by_state.setdefault((change.step, change.name), []).append(change)
    for (step, name), changes in by_state.items():
        content = pieces.keys_piece(changes)
        fresh = Page(step, name, f"{epoch}-0", tier(len(changes)), "", len(changes))
        run = book.of(step, name)
        start = due([*run, fresh])
        merging, run = run[start:], run[:start]
        made.gone += [replace(page, gone=epoch) for page in merging]
        merged: bytes | None = content
        if merging:
            merged = pieces.merged_keys([*read(merging), content], time.time(), bottom=start == 0)
            count = 0 if merged is None else pieces.count_of(merged)
            level = max(tier(count), *(page.level for page in merging)) if start else tier(count)
            fresh = replace(fresh, level=level, rows=count)
        if merged is not None:
            page, data = seal(fresh, merged)
            run = [*run, page]
            below.append(StateChange(step, page.below, 0, page.id.encode(), data))
        made.pages = [each for each in made.pages if (each.step, each.name) != (step, name)] + run
    dead = [page for page in book.gone if page.gone <= oldest]
    below += [StateChange(page.step, page.below, 0, page.id.encode(), None) for page in dead]
    made.gone += [page for page in book.gone if page.gone > oldest]
    return made, below


def rewritten(book: Book, epoch: int, seal: Seal, read: Read) -> tuple[Book, list[StateChange]]:
    """The book with one new page for each state and no other, and what that changes in the store below."""
    made = Book()
    below = [StateChange(page.step, page.below, 0, page.id.encode(), None) for page in book.pages + book.gone]
    for step, name in book.states():
        run = book.of(step, name)
        content = pieces.merged_keys(read(run), time.time(), bottom=True)
        if content is not None:
            rows = pieces.count_of(content)
            page, data = seal(Page(step, name, f"{epoch}-0", tier(rows), "", rows), content)
            made.pages.append(page)
            below.append(StateChange(step, page.below, 0, page.id.encode(), data))
    return made, below


def tier(rows: int) -> int:
    """The level of a page of so many rows: one more for eight times as many."""
    level = 0
    while rows > SMALL * FAN**level:
        level += 1
    return level


def due(run: Sequence[Page]) -> int:
    """Where the pages of a state begin that are to become one with the last, which is new; its own place: none are.

    Eight at the end of one size become one, so a key is rewritten once a level. All become one where the others hold
    as many rows as the first: then half of what is read at a start would be of no use.
    """
    last = len(run) - 1
    if len(run) >= FAN and (sum(page.rows for page in run[1:]) >= run[0].rows or len(run) > MANY):
        return 0
    start, level = last, run[-1].level
    while True:
        begin = start
        while begin > 1 and run[begin - 1].level == level:
            begin -= 1
        if start - begin + 1 < FAN:
            return start
        start, level = begin, level + 1
