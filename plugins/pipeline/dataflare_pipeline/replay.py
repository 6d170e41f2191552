"""Replay of dead letters: a split made by the engine, ``dlq:STEP``, whose rows go into the step that refused them.

A letter turns ``replayed`` in the transaction of the epoch that holds its rows, so a crash repeats it or does not,
together with them. Rows that are refused again become new letters with one attempt more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dataflare import crash
from dataflare.batch import Batch
from dataflare.checkpoint import Letter
from dataflare.component import Source
from dataflare.context import Context
from dataflare.drive import NoPosition, Reading, SourceDriver
from dataflare.split import Demand, Json, Resume, Split
from dataflare.store import Store
from dataflare_host.plan import MAIN, Plan
from dataflare_pipeline.channel import Barrier
from dataflare_pipeline.lane import Report
from dataflare_pipeline.source_lane import SourceLane
from dataflare_pipeline.work import Work

PREFIX = "dlq:"


@dataclass(frozen=True)
class Wanted:
    """Which letters are to be replayed; None: all that wait."""

    step: str | None = None
    code: str | None = None
    ids: frozenset[int] | None = None

    @classmethod
    def of(cls, args: dict[str, Any]) -> Wanted:
        """The letters that the command ``replay`` names."""
        ids = args.get("ids")
        return cls(args.get("step"), args.get("code"), None if ids is None else frozenset(ids))

    def fixed(self, store: Store, plan: Plan, steps: Iterable[str]) -> Wanted:
        """The same letters by their ids: what is refused again while they are replayed is not among them."""
        return Wanted(ids=frozenset(letter.id for letter in self.letters(store, plan, steps)))

    def letters(self, store: Store, plan: Plan, steps: Iterable[str]) -> Iterator[Letter]:
        """The waiting letters of these steps, in the order of their ids; what a source could not read stays."""
        inner = {step for step in steps if plan.steps[step].kind != "source"}
        for letter in store.letters(plan.name, step=self.step, code=self.code):
            if letter.step in inner and (self.ids is None or letter.id in self.ids):
                yield letter


class _Letters(Source[Any], name="letters"):
    """Stands for the dead-letter store in a driver."""


class LettersDriver(SourceDriver):
    """Reads the letters of one step as if it were a source."""

    def __init__(self, ctx: Context, letters: list[Letter]) -> None:
        super().__init__(_Letters(), ctx)
        self._letters = letters

    @property
    def ids(self) -> list[int]:
        """The letters, in the order in which they are read."""
        return [letter.id for letter in self._letters]

    @property
    def replay(self) -> str:
        """The store keeps the letters until their epoch is committed."""
        return "position"

    def open(self, resume: Resume | None = None) -> None:
        """Nothing to open: the store is."""

    def read(
        self, split: Split, position: Json | NoPosition, demand: Demand, columns: frozenset[str] | None
    ) -> Iterator[Reading]:
        """Each letter's rows, for the input that refused them."""
        import pyarrow as pa

        for letter in self._letters:
            crash.point("replay")
            reader = pa.ipc.open_stream(letter.rows)
            batch = Batch(reader.read_all().combine_chunks().to_batches()[0])
            yield Reading(batch, {"letter": letter.id, "attempts": letter.attempts}, letter.input or MAIN)


class ReplayLane(SourceLane):
    """A source lane over dead letters: it reports letters done instead of positions."""

    _told = 0

    def inject(self, barrier: Barrier) -> Report:
        report = super().inject(barrier)
        positions = [state.position["letter"] for state in report.splits.values() if state.position]
        done = max(positions, default=self._told)
        assert isinstance(self.driver, LettersDriver)
        report.replayed = [letter for letter in self.driver.ids if self._told < letter <= done]
        report.splits, report.schemas, self._told = {}, {}, done
        return report

    def _push(self, split: str, reading: Reading, work: Work) -> None:
        assert reading.batch is not None
        rows = reading.batch.with_envelope(split=split, position=reading.position)
        self.chain.push(self.step, reading.stream, rows, work)
