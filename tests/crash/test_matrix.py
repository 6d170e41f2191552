"""SIGKILL at every place that a run passes, and again while it recovers: each sink keeps what its plan promised.

The fast part takes each shape, each store and each sink at least once; ``--crashes wide`` takes them all together,
``--crashes full`` also kills at three passes of each place, with one kill and with two.
"""

from __future__ import annotations

import os

from crash_flows import ABILITIES, SHAPES, TARGETS, content, flow, making

from dataflare.testing import crash_suite
from dataflare.testing.verdict import Verdict

STORES = ("file", "sqlite", "postgres")
FAST = (("keyed", "sqlite"), ("windowed", "file"), ("join", "sqlite"), ("steps", "postgres"))
FEW = ("staged", "transactional", "idempotent", "append")
WIDE = os.environ.get("DATAFLARE_CRASHES", "fast") != "fast"


def suites() -> dict[str, type]:
    """A suite for each shape and store, with all kinds of sinks at once: a kill hits every one of them."""
    pairs = [(shape, store) for shape in SHAPES for store in STORES] if WIDE else FAST
    made = {
        f"Test{shape.title()}{store.title()}": crash_suite(
            making(flow(shape, store, ABILITIES if WIDE else FEW)), content, flow=shape, store=store
        )
        for shape, store in pairs
    }
    places = None if WIDE else ["prepared", "decided", "committed", "sink-move", "sink-publish", "store-committed"]
    made["TestTargets"] = crash_suite(
        making(flow("keyed", "layers", TARGETS)), content, places, flow="keyed", store="sqlite, zstd, aes-gcm"
    )
    return made


globals().update(suites())


def test_what_appends_is_really_doubled_somewhere() -> None:
    """So the weaker promise is the one that is needed."""
    from dataflare.testing import Crashes

    crashes = Crashes(making(flow("map", "file", ["append", "staged"])), content)
    found: list[Verdict] = crashes.killed("commit-point:2")
    assert {each.sink: (each.guarantee, each.held, each.doubled > 0) for each in found} == {
        "append": ("at_least_once", True, True),
        "staged": ("exactly_once", True, False),
    }
