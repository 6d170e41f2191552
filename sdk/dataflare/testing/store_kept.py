"""What the store suites put into stores and look for there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from dataflare.checkpoint import Checkpoint, Letter, SplitState, StateChange
from dataflare.errors import DataflareError
from dataflare.store import Store
from dataflare.testing.suite import require

Open = Callable[[Path], Store]
"""Opens a store on the place that goes by this folder's name; two of one folder share what they keep."""


class StoreCase:
    """What the parts of the suite share."""

    start: ClassVar[Open]

    @classmethod
    @contextmanager
    def place(cls) -> Iterator[Callable[[], Store]]:
        """An empty place; what is given opens one more store on it."""
        stores: list[Store] = []
        with tempfile.TemporaryDirectory(prefix="dataflare-") as folder:

            def another() -> Store:
                stores.append(cls.start(Path(folder)))
                return stores[-1]

            try:
                yield another
            finally:
                for store in stores:
                    store.close()


def checkpoint(epoch: int, *, flow: str = "f", region: str = "r", incarnation: str = "i", **more: Any) -> Checkpoint:
    """A checkpoint whose content tells its epoch."""
    splits = {"read": [SplitState("a.csv", "active", {"byte": epoch}, after=("x",)), SplitState("b.csv")]}
    given = {"splits": splits, "committed_at": "2026-01-01T00:00:00+00:00", **more}
    return Checkpoint(flow, region, incarnation, epoch, **given)


def change(
    key: str, value: str | None, *, step: str = "s", name: str = "seen", expires: float | None = None
) -> StateChange:
    """A changed key."""
    return StateChange(step, name, len(key) % 256, key.encode(), None if value is None else value.encode(), expires)


def letter(
    code: str = "bad", *, step: str = "s", flow: str = "f", region: str = "r", rows: bytes = b"rows", **more: Any
) -> Letter:
    """A dead letter."""
    return Letter(flow, region, step, code, "not good", 1, 3, rows, place={"line": 7}, at="2026-01-01T00:00:00", **more)


def held(store: Store, *, flow: str = "f", region: str = "r", step: str = "s", name: str = "seen") -> dict[str, str]:
    """What a state holds."""
    return {key.decode(): value.decode() for key, value, _ in store.state(flow, region, step, name)}


@contextmanager
def refused(kind: type[DataflareError]) -> Iterator[DataflareError]:
    """What is done inside must be refused with such an error; its problems are in what is given."""
    told = kind()
    try:
        yield told
    except kind as error:
        told.problems = error.problems
        return
    require(False, f"this must be refused with {kind.__name__}")
