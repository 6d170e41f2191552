"""Calls one step's operations under its policy: wait and repeat, halve the batch, refuse rows, or give up.

Only the failing step is repeated, on the input that was kept for it; later batches and barriers of the lane
wait. A batch that fails twice is bisected, so that only the rows that cannot pass are refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch, Rejected
from dataflare.errors import ConfigError, DataflareError, Fenced, Problem, Reject, Retry, problem_of
from dataflare_pipeline.channel import Closed
from dataflare_pipeline.circuit import Circuit
from dataflare_pipeline.policy import Policy, StepFailed, blamed

if TYPE_CHECKING:
    import pyarrow as pa


class Guard:
    """Calls one step's operations under its policy."""

    def __init__(
        self,
        step: str,
        policy: Policy,
        circuit: Circuit,
        cancel: threading.Event,
        on_wait: Callable[[Problem | None], None],
    ) -> None:
        self.step = step
        self.policy = policy
        self._circuit = circuit
        self._cancel = cancel
        self._on_wait = on_wait

    def rows(
        self,
        batch: Batch,
        call: Callable[[Batch], Any],
        take: Callable[[Any], None],
        discard: Callable[[], None] = lambda: None,
        *,
        partly: bool = False,
    ) -> list[Rejected]:
        """Call with the batch; what a call gave goes to ``take``, the rows that cannot pass are returned.

        ``partly``: a Retry may name the rows that are still to do; the others are done and not given again.
        Raises StepFailed where the policy is to fail.
        """
        todo = _Todo(self.step, Part(batch), partly)
        try:
            result = self._repeat(lambda: call(todo.part.rows()), discard, todo.narrow)
        except _AllDone:
            return []
        except Reject as refused:
            return [todo.part.refused(refused)]
        except StepFailed as failed:
            if self.policy.final == "fail" or failed.fatal:
                raise
            return self._bisect(todo, call, take, discard)
        take(todo.part.moved(result))
        return []

    def once(self, call: Callable[[], Any], discard: Callable[[], None] = lambda: None) -> Any:
        """Call something that has no rows to refuse. Raises StepFailed."""
        try:
            return self._repeat(call, discard, lambda error: False)
        except Reject as refused:
            raise StepFailed(self.step, refused) from refused

    def _repeat(self, call: Callable[[], Any], discard: Callable[[], None], narrow: Callable[[Exception], bool]) -> Any:
        attempt = 0
        while True:
            try:
                with self._circuit.call(self._cancel):
                    result = self._answer(call)
            except (Closed, Fenced, Reject):
                discard()
                raise
            except Exception as error:
                discard()
                if narrow(error):
                    attempt = 0
                wait = self.policy.pause(error, attempt)
                self._circuit.failed(problem_of(error, "step.failed"), wait or 0.0)
                if wait is None:
                    raise StepFailed(self.step, error) from error
                self._on_wait(problem_of(error))
                if self._cancel.wait(wait):
                    raise Closed from error
                attempt += 1
                continue
            if attempt:
                self._on_wait(None)
            return result

    def _answer(self, call: Callable[[], Any]) -> Any:
        """What a call gives. Raises Reject also for an error of that kind."""
        try:
            result = call()
        except Reject:
            self._circuit.passed()
            raise
        except DataflareError as error:
            if problem_of(error).kind != "reject":
                raise
            self._circuit.passed()
            raise Reject(error.code, error.problems[0].message) from error
        self._circuit.passed()
        return result

    def _bisect(
        self, todo: _Todo, call: Callable[[Batch], Any], take: Callable[[Any], None], discard: Callable[[], None]
    ) -> list[Rejected]:
        """Halve until the rows that fail stand alone; a batch of one row that failed once more is refused."""
        refused: list[Rejected] = []
        pending = [todo.part]
        while pending:
            todo.part = pending.pop()
            try:
                result = self._answer(partial(call, todo.part.rows()))
            except (Closed, Fenced):
                discard()
                raise
            except Exception as error:
                discard()
                try:
                    todo.narrow(error)
                except _AllDone:
                    continue
                if len(todo.part) > 1:
                    first, second = todo.part.halves()
                    pending += [second, first]
                else:
                    refused.append(todo.part.refused(error))
                continue
            take(todo.part.moved(result))
        return refused


class _AllDone(Exception):
    """A Retry named no rows: there is nothing left to repeat."""


@dataclass(frozen=True)
class Part:
    """Some rows of a batch. ``places``: where they stand in it, ascending; None: all of them."""

    batch: Batch
    places: pa.Int64Array | None = None

    def __len__(self) -> int:
        return len(self.batch) if self.places is None else len(self.places)

    def rows(self) -> Batch:
        """The rows themselves."""
        if self.places is None:
            return self.batch
        return Batch(self.batch.arrow.take(self.places), self.batch.envelope)

    def halves(self) -> tuple[Part, Part]:
        """The first and the second half."""
        places, half = self._all_places(), len(self) // 2
        return Part(self.batch, places.slice(0, half)), Part(self.batch, places.slice(half))

    def rest(self, wanted: Any) -> Part:
        """The rows that a Retry names: by a mask over the rows of this part, or as a batch derived from them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(wanted, Batch):
            if wanted.origin is None and len(wanted) == len(self):
                return self
            if isinstance(wanted.origin, pa.Array):
                return Part(self.batch, self._all_places().take(pc.unique(wanted.origin)))
        else:
            mask = list(wanted.to_pylist() if hasattr(wanted, "to_pylist") else wanted)
            if len(mask) == len(self) and all(isinstance(keep, bool) for keep in mask):
                return Part(self.batch, self._all_places().filter(pa.array(mask, pa.bool_())))
        raise ConfigError.of(
            "step.retry_rows",
            "a `Retry` does not tell which rows are still to do",
            fix="give `rows=` a list of booleans, one a row of the batch, or a batch derived from it with `filter`",
        )

    def moved(self, result: Any) -> Any:
        """What a call on this part gave, its rejects named as rows of the whole batch."""
        rejected = getattr(result, "rejected", result if isinstance(result, list) else None)
        if self.places is None or not rejected:
            return result
        moved = [Rejected(self.places.take(entry.rows), entry.code, entry.message) for entry in rejected]
        if isinstance(result, list):
            return moved
        result.rejected = moved
        return result

    def refused(self, error: Exception) -> Rejected:
        """All rows of this part, refused."""
        if isinstance(error, Reject):
            return Rejected(self._all_places(), error.code, error.message)
        problem = problem_of(error, "step.failed")
        return Rejected(self._all_places(), problem.code, problem.message)

    def _all_places(self) -> pa.Int64Array:
        import pyarrow as pa

        return pa.array(range(len(self.batch)), pa.int64()) if self.places is None else self.places


@dataclass
class _Todo:
    """What is still to do of a batch."""

    step: str
    part: Part
    partly: bool

    def narrow(self, error: Exception) -> bool:
        """Leave out what a Retry does not name; True if that is less than before. Raises StepFailed, _AllDone."""
        if not (self.partly and isinstance(error, Retry) and error.rows is not None):
            return False
        before = len(self.part)
        with blamed(self.step):
            self.part = self.part.rest(error.rows)
        if not len(self.part):
            raise _AllDone
        return len(self.part) < before
