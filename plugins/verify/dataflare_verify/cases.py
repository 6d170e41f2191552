"""What all suites of the kit share: the component that is tried, leaving a case out, errors that are clean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from dataflare.errors import DataflareError
from dataflare.testing.suite import Suite, require
from dataflare.testing.surroundings import component
from dataflare_verify import configs

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare_verify.examples import Example
    from dataflare_verify.memory import Memory
    from dataflare_verify.subject import Subject
    from dataflare_verify.surroundings import Surroundings

LOST = ("guest.trap", "guest.exited", "guest.timeout", "guest.memory", "guest.output", "guest.frame", "guest.batch")
"""What no guest may bring about, whatever it is given."""
SOON = 3.0
"""Seconds within which everything comes back that is asked to stop."""
BATCHES = 1_000
GROWTH = 16 << 20
"""Bytes by which the memory may grow over those batches, once it is warm: engines that collect garbage do so late."""
TIME = 5.0
"""Seconds after which those batches end, however many there were."""
LOOKS = 5
"""How often memory that has grown is looked at, each time as long."""


class LeftOut(Exception):
    """This case does not apply, and why."""


class Case(Suite):
    """The cases that every component has; a suite of a kind adds its own. Each ``test_…`` is one."""

    example: ClassVar[Example]
    subject: ClassVar[Subject]
    around: ClassVar[Surroundings]
    kill: ClassVar[bool] = True
    """Whether a flow with this example is killed."""
    thorough: ClassVar[bool] = False

    def test_its_configuration_is_what_its_schema_says(self) -> None:
        """What the schema accepts is accepted, what it refuses is refused, each with a clean error."""
        schema = self.subject.config_schema(self.thing)
        with self.configured() as good:
            for what, config in configs.accepted(schema, good):
                try:
                    component(self.thing, **config)
                except DataflareError as error:
                    require(False, f"the configuration {what} is refused: {said(error)}")
            for what, config in configs.refused(schema, good):
                try:
                    component(self.thing, **config)
                except DataflareError as error:
                    require(bool(error.code), f"{what}: the refusal has no code")
                except Exception as error:
                    require(False, f"{what}: it fails with {type(error).__name__}: {error}")
                else:
                    require(False, f"{what}: its schema refuses that, and it is accepted")

    def test_what_is_not_granted_is_refused_cleanly(self) -> None:
        """With nothing granted it works, or says cleanly what it misses; with everything it works again."""
        if not self.around.needed:
            raise LeftOut("its example gives nothing that needs a grant")
        self.around.granted = False
        try:
            self.work_once()
        except Exception as error:
            clean(error)
        finally:
            self.around.granted = True
        self.work_once()

    def test_it_asks_for_what_its_manifest_says(self) -> None:
        """Whatever it uses of the outside was asked for in the manifest, and in `effects`."""
        self.around.used.clear()
        self.work_once()
        declared = self.thing.spec.get("effects")
        used = "http" in self.around.used and self.thing.kind in ("processor", "tool")
        require(
            not used or declared in ("reads", "writes", None),
            f"it says `effects = {declared!r}` and sends requests",
        )

    def work_once(self) -> None:
        """Put the example through a fresh instance."""
        raise NotImplementedError

    @contextmanager
    def steady(self, memory: Memory) -> Iterator[Callable[[], bool]]:
        """``while more(): work`` 1,000 times, or as often as the time allows.

        Fails at the end where the memory has grown since it was warm. What has grown is looked at again over as many
        batches, and again: a sandbox's heap grows to its size late, a leak goes on as it began.
        """
        rounds, before, began, looks = 0, -1, time.monotonic(), LOOKS
        most, allowed, seconds = BATCHES, 0, TIME

        def more() -> bool:
            nonlocal rounds, before, began, looks, most, allowed, seconds
            spent = time.monotonic() - began
            if before < 0 and (rounds >= BATCHES // 5 or spent > TIME / 4):
                before = memory.now()
                allowed = GROWTH + before // 10
            rounds += 1
            if rounds <= most and spent < seconds:
                return True
            grown = memory.now() - before
            if before < 0 or grown <= allowed or looks == 1 or not memory.own:
                return False
            if looks == LOOKS:
                most, allowed, seconds = rounds, grown // 4, 4 * TIME
            rounds, before, began, looks = 0, memory.now(), time.monotonic(), looks - 1
            return True

        yield more
        if before < 0:
            raise LeftOut(f"it gave only {rounds} batches")
        grown = memory.now() - before
        message = f"its memory has grown by {grown / 2**20:.1f} MiB over {rounds} batches, and before: it leaks"
        require(grown <= allowed, message)
        limit = self.subject.limits.memory if memory.own else None
        require(limit is None or memory.now() <= limit, f"it holds more than its limit of {limit} bytes")

    @contextmanager
    def soon(self, what: str, within: float = SOON) -> Iterator[None]:
        """Fails where this takes longer than anything may that was asked to stop."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        require(took <= within, f"{what} took {took:.1f} s")

    def killed_and_judged(self) -> None:
        """Run a flow with it, killed again and again."""
        from dataflare_verify.crashes import require_held

        if not self.kill:
            raise LeftOut("it was killed with another example")
        if self.around.needed:
            raise LeftOut("its example stands in for the outside, which a flow in another process does not find")
        require_held(self.subject, self.thing, self.example, self.thorough)

    def rows_of_example(self) -> Batch:
        """What it is fed."""
        require(len(self.example.rows) > 0, "it needs `rows` in verify.toml")
        return self.example.batch


def said(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, DataflareError) and error.problems:
        problem = error.problems[0]
        return f"{problem.code}: {problem.message}" + (f" ({problem.cause})" if problem.cause else "")
    return f"{type(error).__name__}: {error}"


def clean(error: Exception) -> None:
    """Fail where an error is a guest that was lost.

    Whatever else the code raises is a refusal: over the guest protocol it arrives as `step.failed`.
    """
    if isinstance(error, AssertionError):
        raise error
    lost = isinstance(error, DataflareError) and error.code in LOST
    require(not lost, f"the guest was lost: {said(error)}")
