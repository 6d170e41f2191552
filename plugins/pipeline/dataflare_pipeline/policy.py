"""What happens when a step fails: wait and repeat, halve the batch, refuse rows, or give up.

Only the failing step is repeated, on the input that was kept for it; later batches and barriers of the lane
wait. A batch that fails twice is bisected, so that only the rows that cannot pass are refused.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dataflare.batch import Batch, Rejected
from dataflare.errors import DataflareError, Failed, Fenced, Problem, Reject, Retry, problem_of
from dataflare_pipeline.channel import Closed


@dataclass(frozen=True)
class Policy:
    """A step's ``on_error``: ``fail``, ``drop``, ``retry`` (then ``then``) or ``dead_letter``; times in seconds."""

    policy: str = "fail"
    attempts: int = 5
    delay: float = 0.2
    factor: float = 2.0
    cap: float = 30.0
    then: str = "fail"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Policy:
        """The policy of a plan's step."""
        return cls(**given) if given else cls()

    def wait(self, attempt: int) -> float:
        """Seconds before the next attempt: exponential, capped, with up to a quarter of jitter."""
        return float(min(self.cap, self.delay * self.factor**attempt)) * (1 + random.random() / 4)

    @property
    def final(self) -> str:
        """What happens once repeating is over: ``fail``, ``drop`` or ``dead_letter``."""
        return self.then if self.policy == "retry" else self.policy


class Guard:
    """Calls one step's operations under its policy."""

    def __init__(self, step: str, policy: Policy, cancel: threading.Event, on_wait: Callable[[Problem | None], None]):
        self.step = step
        self.policy = policy
        self._cancel = cancel
        self._on_wait = on_wait

    def rows(
        self,
        batch: Batch,
        call: Callable[[Batch], Any],
        discard: Callable[[], None],
        take: Callable[[Batch, Any], None],
    ) -> list[Rejected]:
        """Call with the batch; what passed goes to ``take`` (with the part it came from), what did not is returned.

        Raises StepFailed where the policy is to fail.
        """
        try:
            result = self._repeat(lambda: call(batch), discard)
        except Reject as refused:
            return [_all_rows(batch, refused.code, refused.message)]
        except StepFailed as failed:
            if self.policy.final == "fail" or failed.fatal:
                raise
            return self._bisect(batch, call, discard, take, failed)
        take(batch, result)
        return []

    def once(self, call: Callable[[], Any], discard: Callable[[], None] = lambda: None) -> Any:
        """Call something that has no rows to refuse. Raises StepFailed."""
        try:
            return self._repeat(call, discard)
        except Reject as refused:
            raise StepFailed(self.step, refused) from refused

    def _repeat(self, call: Callable[[], Any], discard: Callable[[], None]) -> Any:
        attempt = 0
        while True:
            try:
                result = call()
            except (Closed, Fenced, Reject):
                discard()
                raise
            except Exception as error:
                discard()
                asked = isinstance(error, Retry) or (isinstance(error, DataflareError) and _kind(error) == "retry")
                if not (asked or self.policy.policy == "retry") or attempt >= self.policy.attempts:
                    raise StepFailed(self.step, error) from error
                after = (
                    error.after if isinstance(error, Retry) and error.after is not None else self.policy.wait(attempt)
                )
                self._on_wait(problem_of(error))
                if self._cancel.wait(after):
                    raise Closed from error
                attempt += 1
                continue
            if attempt:
                self._on_wait(None)
            return result

    def _bisect(
        self,
        batch: Batch,
        call: Callable[[Batch], Any],
        discard: Callable[[], None],
        take: Callable[[Batch, Any], None],
        failed: StepFailed,
    ) -> list[Rejected]:
        """Halve until the rows that fail stand alone; a batch of one row that failed once more is refused."""
        import pyarrow as pa

        refused: list[Rejected] = []
        pending = [(0, len(batch))]
        while pending:
            start, length = pending.pop()
            part = Batch(batch.arrow.slice(start, length), batch.envelope)
            try:
                result = call(part)
            except (Closed, Fenced):
                discard()
                raise
            except Exception as error:
                discard()
                if length > 1:
                    half = length // 2
                    pending += [(start + half, length - half), (start, half)]
                    continue
                code, message = (error.code, error.message) if isinstance(error, Reject) else _reason(error)
                refused.append(Rejected(pa.array([start], pa.int64()), code, message))
                continue
            take(part, _shifted(result, start))
        return refused


class StepFailed(Failed):
    """A step failed and its policy is to stop; ``problem`` says which, where and why."""

    def __init__(self, step: str, error: BaseException) -> None:
        problem = problem_of(error, "step.failed")
        ours = isinstance(error, (DataflareError, Reject, Retry))
        super().__init__(
            replace(
                problem,
                message=f"`{step}`: {problem.message}" if ours else f"`{step}` failed: {problem.message}",
                cause=problem.cause if ours else _raised_at(error),
                details={**problem.details, "step": step},
            )
        )
        self.step = step
        self.error = error
        self.fatal = isinstance(error, Fenced)

    @property
    def retriable(self) -> bool:
        """The whole epoch may be tried again from its checkpoint."""
        return self.problems[0].kind == "retry"


@contextmanager
def blamed(step: str) -> Iterator[None]:
    """Whatever a component raises in here is a failure of its step. Raises StepFailed."""
    try:
        yield
    except (Closed, Fenced, StepFailed):
        raise
    except Exception as error:
        raise StepFailed(step, error) from error


def _kind(error: DataflareError) -> str:
    return error.problems[0].kind if error.problems else "fatal"


def _reason(error: BaseException) -> tuple[str, str]:
    problem = problem_of(error, "step.failed")
    return problem.code, problem.message


def _raised_at(error: BaseException) -> str:
    """The author's line that raised, as the cause of a foreign exception."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}" if place else type(error).__name__


def _all_rows(batch: Batch, code: str, message: str) -> Rejected:
    import pyarrow as pa

    return Rejected(pa.array(range(len(batch)), pa.int64()), code, message)


def _shifted(result: Any, start: int) -> Any:
    """Rejects of a part, as rows of the whole batch."""
    import pyarrow.compute as pc

    rejected = getattr(result, "rejected", result if isinstance(result, list) else None)
    if not start or not rejected:
        return result
    moved = [Rejected(pc.add(entry.rows, start), entry.code, entry.message) for entry in rejected]
    if isinstance(result, list):
        return moved
    result.rejected = moved
    return result
