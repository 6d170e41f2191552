"""Ends that keep no rows: ``count`` and ``null``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dataflare import Batch, Context, Resume, Schema, Sink


class Count(Sink[int], ability="transactional", fencing="target", shared="process"):
    """Count rows and keep nothing else; the count is committed with each epoch, so it is exact after a crash."""

    # The token is the lane's running count. It lives in the checkpoint alone, whose commit is fenced.

    def needs(self, schema: Schema) -> frozenset[str]:
        """No column: the source need not read any."""
        return frozenset()

    def open(self, ctx: Context, resume: Resume) -> None:
        """Start from what the last decided epoch counted; the first lane carries on for all there were."""
        self._committed = sum(resume.tokens.values())
        self._counted = self._committed if ctx.lane == 0 else 0

    def write(self, batch: Batch) -> None:
        """Count the rows."""
        self._counted += len(batch)

    def prepare(self, epoch: int) -> int:
        """The count so far."""
        return self._counted

    def commit(self, epoch: int, tokens: Sequence[int], ctx: Context) -> None:
        """Report the count of all lanes."""
        self._committed = sum(tokens)
        ctx.metrics.gauge("counted_rows", self._committed)

    def readback(self, stream: str) -> Iterator[Any]:
        """One row: the committed count."""
        yield [{"rows": self._committed}]


class Null(Sink, ability="transactional", fencing="target", commits="lane", shared="process"):
    """Take every row and keep nothing: for measuring, and for flows whose steps do the work."""

    def needs(self, schema: Schema) -> frozenset[str]:
        """No column."""
        return frozenset()

    def write(self, batch: Batch) -> None:
        """Forget the rows."""

    def readback(self, stream: str) -> Iterator[Any]:
        """Nothing."""
        return iter(())
