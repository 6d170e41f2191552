"""The splits of one source: the committed list, who reads what, and the source's watermark."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime

from dataflare.checkpoint import SplitState
from dataflare.split import Json, Split


class SplitBook:
    """Shared by the lanes of a source. A split belongs to one lane for the life of the attempt.

    The book keeps each split as it was when the attempt began or the split appeared; what a lane has read since
    is in the lane's report. So the list of a checkpoint is the book's, with the lanes' reports laid over it.
    """

    def __init__(self, listed: Iterable[SplitState] = (), discovery: Json = None) -> None:
        self.lock = threading.Lock()
        self.changed = False
        self.discovery = discovery
        self.discovering = False
        self._states = {state.id: state for state in listed}
        self._taken: set[str] = {state.id for state in self._states.values() if state.status == "finished"}
        self._committed = set(self._taken)
        self._listed = set(self._states)
        self._open = {state.id for state in self._states.values() if state.status != "finished"}
        self._watermarks: dict[str, datetime | None] = {}
        self._idle: set[str] = set()

    def add(self, splits: Iterable[Split], discovery: Json = None) -> int:
        """New splits, in the order given; known ids are left alone. How many were new."""
        with self.lock:
            fresh = [split for split in splits if split.id not in self._states]
            for split in fresh:
                self._states[split.id] = SplitState(
                    split.id, "new", None, split.data, split.start, tuple(split.after), split.size
                )
                self._open.add(split.id)
            if fresh or discovery != self.discovery:
                self.changed = True
            self.discovery = discovery
            return len(fresh)

    def finished(self) -> frozenset[str]:
        """The ids that are read to their end in a committed epoch."""
        with self.lock:
            return frozenset(self._committed)

    def take(self) -> SplitState | None:
        """The next split that may be read, for the calling lane alone; a copy."""
        with self.lock:
            for state in self._states.values():
                if state.id not in self._taken and self._may_start(state):
                    self._taken.add(state.id)
                    return copy(state)
            return None

    def _may_start(self, state: SplitState) -> bool:
        """A start position is committed before the first read, and so is the end of what must come before."""
        return self._committed.issuperset(state.after) and (state.start is None or state.id in self._listed)

    def waiting(self) -> int:
        """How many splits nobody has taken yet."""
        with self.lock:
            return len(self._states) - len(self._taken)

    def end(self, split: str) -> None:
        """A lane has read a split to its end."""
        with self.lock:
            self._open.discard(split)

    def awaited(self, split: str) -> bool:
        """Does another split start only once this one is finished in a committed epoch?"""
        with self.lock:
            return any(split in state.after for state in self._states.values() if state.id not in self._taken)

    def missing(self) -> str | None:
        """The id of a split that another one waits for and that is not listed, if there is one."""
        with self.lock:
            awaited = (split for state in self._states.values() for split in state.after)
            return next((split for split in awaited if split not in self._states), None)

    def exhausted(self) -> bool:
        """Every split is read to its end and no more will appear."""
        with self.lock:
            return not self._open and not self.discovering

    def committed(self, states: Iterable[SplitState]) -> None:
        """An epoch with these states is committed: splits that waited for it may start."""
        with self.lock:
            states = list(states)
            self._listed.update(state.id for state in states)
            self._committed.update(state.id for state in states if state.status == "finished")

    def listing(self, reported: dict[str, SplitState]) -> tuple[list[SplitState], Json]:
        """The list for a checkpoint, and the discovery position that belongs to it."""
        with self.lock:
            self.changed = False
            return [reported.get(state.id) or copy(state) for state in self._states.values()], self.discovery

    def sizes(self) -> dict[str, int | None]:
        """The size of each split, in the source's own unit."""
        with self.lock:
            return {state.id: state.size for state in self._states.values()}

    # --- watermark ------------------------------------------------------------------------------

    def advance(self, split: str, time: datetime | None) -> None:
        """A split gave rows, up to this event time (None: they tell none); it never goes back."""
        with self.lock:
            self._idle.discard(split)
            if time is not None:
                before = self._watermarks.get(split)
                self._watermarks[split] = time if before is None else max(before, time)

    def idle(self, split: str) -> None:
        """A split has nothing now: it holds the watermark back no longer, until it gives rows."""
        with self.lock:
            self._idle.add(split)

    def quiet(self) -> bool:
        """Every split is idle or read to its end: nothing holds the watermark back for now."""
        with self.lock:
            return self._open <= self._idle

    def watermark(self) -> datetime | None:
        """The minimum over registered unfinished splits, unread ones included; None while one has said nothing."""
        with self.lock:
            counted = [self._watermarks.get(split) for split in self._open if split not in self._idle]
            if not counted:
                known = [time for time in self._watermarks.values() if time is not None]
                return max(known, default=None)
            return None if any(time is None for time in counted) else min(time for time in counted if time)

    def restore_watermarks(self, times: dict[str, str]) -> None:
        """The watermarks of a checkpoint, by split."""
        with self.lock:
            for split, text in times.items():
                self._watermarks[split] = datetime.fromisoformat(text).astimezone(UTC)

    def watermark_of(self, split: str) -> str | None:
        """The watermark of one split, as ISO 8601."""
        with self.lock:
            time = self._watermarks.get(split)
            return None if time is None else time.isoformat()
