"""A processor step in a lane: aligned input, one driver, its policy, its state."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from dataflare import crash
from dataflare.batch import Batch, Rejected
from dataflare.context import Context, FixedClock
from dataflare.drive import Processed, ProcessorDriver
from dataflare.schema import Schema
from dataflare_host.kinds import Budget
from dataflare_pipeline.guard import Guard
from dataflare_pipeline.keyed import KeyedState
from dataflare_pipeline.policy import blamed
from dataflare_pipeline.proof import operator_name
from dataflare_pipeline.timers import KeyedTimers
from dataflare_pipeline.work import Refusal, Work

Outputs = list[tuple[str, Batch]]
_USUAL = 20.0
"""Times the longest call of the older version that a call of a new one on trial may take."""
RECENT = 2
"""Batches that are kept to try a new version of a component on."""


class Aligned:
    """The schema that a step was last planned for, by input: batches are cast up to it, a wider one makes it grow."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self.schemas = schemas

    def fit(self, batch: Batch, input: str) -> tuple[Batch, bool]:
        """The batch in the step's schema, and whether that schema has just grown."""
        known = self.schemas.get(input)
        if known is not None and (batch.schema is known.arrow or batch.schema.equals(known.arrow)):
            return batch, False
        given = Schema(batch.schema)
        if known is None:
            self.schemas[input] = given
            return batch, True
        union = known.union(given)
        grown = not union.arrow.equals(known.arrow)
        if grown:
            self.schemas[input] = union
        return batch.cast(union), grown


class ProcessorOp:
    """One processor in one lane."""

    def __init__(
        self,
        step: str,
        driver: ProcessorDriver,
        context: Context,
        guard: Guard,
        refusal: Refusal,
        budget: Budget,
        first: str | None = None,
    ) -> None:
        self.step = step
        self.first = first or step
        """The first of the steps that were compiled into this one; ``step`` is the last."""
        self.name = operator_name(self.first, step)
        self.driver = driver
        self.context = context
        self.guard = guard
        self.refusal = refusal
        self.aligned = Aligned({})
        self.state: KeyedState | None = None
        self.timers: KeyedTimers | None = None
        self.recent: deque[tuple[Batch, str]] = deque(maxlen=RECENT if driver.component.remote else 0)
        """What a new version of the component would be tried on; only where there can be one."""
        self.calls = 0
        """Those that gave something, and did not fail."""
        self.working = False
        """It has rows that it is not done with."""
        self.longest = 0.0
        """Seconds of its longest call but the first, which may have more to do."""
        self.since: float | None = None
        """When the call that runs now began (monotonic seconds)."""
        self._budget = budget

    def plan(self, inputs: dict[str, Schema]) -> dict[str, Schema]:
        """Plan this instance for the schemas of its inputs; the schemas of its outputs."""
        self.aligned.schemas = dict(inputs)
        planned: dict[str, Schema] = self.guard.once(lambda: self.driver.plan(dict(inputs)))
        return planned

    def process(self, batch: Batch, input: str, work: Work) -> Outputs:
        """One batch through the step; its letters and counts go into ``work``."""
        work.of(self.first).rows_in += len(batch)
        work.proved(self.name).rows_in += len(batch)
        with blamed(self.step):
            fitted, grown = self.aligned.fit(batch.as_input(), input)
        if grown:
            self.guard.once(lambda: self.driver.plan(dict(self.aligned.schemas)))
        self._set_scene(fitted)
        self.recent.append((fitted, input))
        outputs: Outputs = []
        rejected: list[Rejected] = []

        def take(processed: Processed) -> None:
            self._keep()
            outputs.extend(processed.outputs)
            rejected.extend(processed.rejected)

        self.working = True
        rejected += self.guard.rows(fitted, lambda part: self._call(part, input), take, self._forget)
        self.working = False
        if rejected:
            work.proved(self.name).rejected += len(self.refusal.rows(work, fitted, rejected, input))
        crash.point("processed")
        return self._count(outputs, fitted, work)

    def timer(self, keys: Batch, time: float, work: Work) -> Outputs:
        """Due timers of these keys."""
        at = datetime.fromtimestamp(time, UTC)
        return self._flush(lambda: self.driver.timer(keys, at), work, keys)

    def watermark(self, time: datetime, work: Work) -> Outputs:
        """The watermark moved."""
        return self._flush(lambda: self.driver.watermark(time), work)

    def finish(self, work: Work) -> Outputs:
        """End of input."""
        return self._flush(self.driver.finish, work)

    def barrier(self) -> None:
        """An epoch ends: what is held in memory only goes into the state."""
        self.guard.once(self.driver.barrier, self._forget)
        self._keep()

    def due(self, until: float, event: bool) -> list[tuple[float, Batch]]:
        """The timers due until then."""
        return self.timers.take_due(until, event) if self.timers else []

    def _call(self, part: Batch, input: str) -> Processed:
        self._budget.gate()
        return self._timed(lambda: self.driver.process(part, input))

    def _timed(self, call: Callable[[], Processed]) -> Processed:
        self.since = began = time.monotonic()
        try:
            processed = call()
            self.calls += 1
            return processed
        finally:
            if self.calls > 1:
                self.longest = max(self.longest, time.monotonic() - began)
            self.since = None

    def _flush(self, call: Callable[[], Processed], work: Work, keys: Batch | None = None) -> Outputs:
        self.context.clock = FixedClock()
        processed: Processed = self.guard.once(lambda: self._timed(call), self._forget)
        self._keep()
        if keys is not None and processed.rejected:
            work.proved(self.name).rejected += len(self.refusal.rows(work, keys, processed.rejected, ""))
        return self._count(processed.outputs, None, work)

    def _count(self, outputs: Outputs, origin: Batch | None, work: Work) -> Outputs:
        kept: Outputs = []
        for name, batch in outputs:
            # A call that gave nothing leaves no counts: they would be news that an epoch has to keep.
            work.of(self.step).rows_out += len(batch)
            work.proved(self.name).rows_out += len(batch)
            if len(batch):
                kept.append((name, batch if origin is None else Batch(batch.arrow, origin.envelope)))
        return kept

    def _set_scene(self, batch: Batch) -> None:
        """Clock and randomness of a batch: the same batch gives the same answers."""
        envelope = batch.envelope
        self.context.clock = FixedClock(envelope.ingested or datetime.now(UTC))
        self.context.random = _Seeded(f"{self.context.incarnation}/{self.step}/{envelope.split}/{envelope.position}")

    def _keep(self) -> None:
        if self.state is not None:
            self.state.apply()

    def _forget(self) -> None:
        if self.state is not None:
            self.state.discard()
        if self.timers is not None:
            self.timers.restore()


class _Seeded(random.Random):
    """Random numbers seeded by a text at their first use: most components never draw one."""

    def __new__(cls, text: str) -> _Seeded:
        return super().__new__(cls)

    def __init__(self, text: str) -> None:
        self._text: str | None = text

    def random(self) -> float:
        self._seed_once()
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        self._seed_once()
        return super().getrandbits(k)

    def _seed_once(self) -> None:
        if self._text is not None:
            text, self._text = self._text, None
            self.seed(text)


def allowed(patience: float, longest: float) -> float:
    """Seconds that a call of a version on trial may take, where the ``longest`` of the older one took so many."""
    return max(patience, _USUAL * longest)
