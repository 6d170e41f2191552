"""What a flow says about failures of a step, and how a failure names its step."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dataflare.errors import DataflareError, Failed, Fenced, InstanceLost, Reject, Retry, problem_of
from dataflare_pipeline.channel import Closed

AGAIN = "run it again later: it goes on from its last epoch"


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
        """Seconds before the next attempt: exponential, capped, less up to a quarter of jitter."""
        return float(min(self.cap, self.delay * self.factor**attempt)) * (1 - random.random() / 4)

    def pause(self, error: BaseException, attempt: int) -> float | None:
        """Seconds until what failed is repeated; None: it is not, or not any more.

        The kind of an error decides; the policy does where there is none. What is wrong for good is not repeated, nor
        is a call to an instance that is gone: only the epoch can be.
        """
        if isinstance(error, InstanceLost):
            return None
        known = isinstance(error, (DataflareError, Retry))
        repeats = problem_of(error).kind == "retry" if known else self.policy == "retry"
        if not repeats or attempt >= self.attempts:
            return None
        return asked_pause(self, error, attempt)

    @property
    def final(self) -> str:
        """What happens once repeating is over: ``fail``, ``drop`` or ``dead_letter``."""
        return self.then if self.policy == "retry" else self.policy


def asked_pause(policy: Policy, error: BaseException, attempt: int) -> float:
    """Seconds to wait: as many as a ``Retry`` asks for, else those of the policy."""
    after = error.after if isinstance(error, Retry) else None
    return policy.wait(attempt) if after is None else after


class StepFailed(Failed):
    """A step failed and its policy is to stop; ``problem`` says which, where and why."""

    def __init__(self, step: str, error: BaseException) -> None:
        problem = problem_of(error, "step.failed")
        others = error.problems[1:] if isinstance(error, DataflareError) else ()
        ours = isinstance(error, (DataflareError, Reject, Retry))
        super().__init__(
            replace(
                problem,
                message=f"`{step}`: {problem.message}" if ours else f"`{step}` failed: {problem.message}",
                cause=problem.cause if ours else _raised_at(error),
                fix=AGAIN if isinstance(error, Retry) else problem.fix,
                details={**problem.details, "step": step},
            ),
            *others,
        )
        self.step = step
        self.error = error
        self.fatal = isinstance(error, (Fenced, InstanceLost))

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


def _raised_at(error: BaseException) -> str:
    """The author's line that raised, as the cause of a foreign exception."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}" if place else type(error).__name__
