"""The vote of the regions that try out one version: it is kept by all of them or by none."""

from __future__ import annotations

import threading

from dataflare.errors import StateError


class Ballot:
    """Every region says yes once its epoch on trial could be committed, or no. Thread-safe."""

    def __init__(self, plugin: str, voters: int) -> None:
        self._plugin = plugin
        self._missing = voters
        self._against: str | None = None
        self._several = voters > 1
        self._lock = threading.Lock()

    @property
    def sealed(self) -> bool:
        """All have agreed and may have committed: none may go back any more. One region alone still may."""
        return self._several and self.agreed

    @property
    def agreed(self) -> bool:
        """All have said yes."""
        return self._missing == 0 and self._against is None

    def yes(self) -> None:
        """A region could commit its epoch, or has ended and has nothing to say. Each says so once."""
        with self._lock:
            self._missing -= 1

    def no(self, why: str) -> None:
        """A region takes the version back. Without effect once all have agreed."""
        with self._lock:
            if not self.sealed and self._against is None:
                self._against = why

    def check(self) -> None:
        """Raise StateError ``reload.elsewhere`` where a region said no."""
        if self._against is not None:
            message = f"`{self._plugin}` did not work in another part of the flow"
            raise StateError.of("reload.elsewhere", message, cause=self._against)
