"""A plugin that lies fails, in the case that names the lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflare_verify.subject import Subject, opened
from dataflare_verify.trying import outcomes

LIARS = Path(__file__).parent / "liars"
LIES = {
    "source:forgetful": {"every-position-resumes-exactly", "a-flow-with-it-may-be-killed-anywhere"},
    "source:skipping": {"every-position-resumes-exactly"},
    "source:moody": {"reading-twice-gives-the-same", "every-position-resumes-exactly", "a-small-demand-loses-nothing"},
    "source:unplaced": {"the-last-rows-have-a-position"},
    "source:keeper": {"its-memory-stays-flat"},
    "source:greedy": {"batches-are-bounded"},
    "source:hasty": {"a-small-demand-loses-nothing"},
    "source:untyped": {"the-rows-have-the-planned-columns"},
    "source:misnamed": {"what-it-discovers-is-true"},
    "source:impatient": {"an-acknowledgement-may-come-again"},
    "source:once": {"what-is-not-acknowledged-comes-again", "it-can-be-left-in-the-middle"},
    "processor:dice": {"the-same-batches-give-the-same", "a-snapshot-continues-exactly"},
    "processor:amnesiac": {"a-snapshot-continues-exactly"},
    "processor:dropper": {"a-row-is-passed-or-refused"},
    "processor:doubler": {"a-row-is-passed-or-refused"},
    "processor:mean": {"batches-may-be-cut-anywhere"},
    "processor:rounding": {"every-type-passes-or-is-refused"},
    "processor:cutter": {"a-hundred-thousand-rows"},
    "processor:invented": {"every-type-passes-or-is-refused"},
    "processor:overwriter": {"it-changes-what-it-says"},
    "processor:peeker": {"it-changes-what-it-says"},
    "processor:phoning": {"it-asks-for-what-its-manifest-says"},
    "processor:hoarder": {"its-memory-stays-flat"},
    "processor:own-memory": {"a-call-that-fails-leaves-no-state", "a-snapshot-continues-exactly"},
    "processor:shared-total": {"keys-may-be-shared-out"},
    "processor:forgetting": {"state-of-an-older-version-is-taken-over"},
    "sink:early": {"nothing-shows-before-the-commit"},
    "sink:doubling": {"a-commit-counts-once"},
    "sink:volatile": {"what-is-prepared-survives-its-instance", "a-flow-with-it-may-be-killed-anywhere"},
    "sink:stubborn": {"an-abort-leaves-nothing"},
    "sink:idempotent": {"an-epoch-lost-in-a-crash-may-come-again"},
    "sink:prophet": {"it-tells-the-epoch-that-it-holds"},
    "sink:lossy": {"every-type-is-kept-or-refused"},
    "tool:wrong-sum": {"it-answers"},
    "tool:clock": {"it-answers-the-same-twice"},
}
"""Component → the cases that must fail; what a lie breaks beside them is its own affair."""


@pytest.fixture(scope="module")
def liars() -> Iterator[Subject]:
    with opened(LIARS, "inline") as subject:
        yield subject


HOARDING = [liar for liar, cases in LIES.items() if "its-memory-stays-flat" in cases]


@pytest.mark.parametrize("liar", HOARDING)
def test_who_keeps_memory_is_named(liar: str) -> None:
    """In a process of its own: this one may have enough to give that it has freed before."""
    with opened(LIARS, "worker") as subject:
        failed = {each.case for case in LIES[liar] for each in outcomes(subject, f"{liar}/{case}") if not each.held}
    assert failed == LIES[liar]


@pytest.mark.parametrize("liar", [liar for liar in LIES if liar not in HOARDING])
def test_a_lie_is_named(liars: Subject, liar: str) -> None:
    failed = {each.case for case in LIES[liar] for each in outcomes(liars, f"{liar}/{case}") if not each.held}
    assert failed == LIES[liar]


def test_a_source_that_sleeps_is_late(liars: Subject) -> None:
    (found,) = outcomes(liars, "source:deaf/it-answers-in-time")
    assert "after it was due" in found.wrong


def test_every_liar_is_tried(liars: Subject) -> None:
    known = {f"{made.kind}:{made.spec.name}" for made in liars.classes}
    assert known == {*LIES, "source:deaf"}


def test_what_holds_is_not_reported(liars: Subject) -> None:
    """The innocent cases of a liar hold: the report points at the lie and at nothing else."""
    held = [each for each in outcomes(liars, "processor:hoarder/") if each.case != "its-memory-stays-flat"]
    assert [each.case for each in held if not each.held] == []
    assert len(held) > 15
