"""What handling one batch made: batches for the next lanes, letters, counts. It counts once it is delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch, Rejected
from dataflare.checkpoint import Letter
from dataflare.digest import MODULUS, digest

if TYPE_CHECKING:
    from dataflare_pipeline.outlet import Outlet


@dataclass
class Counts:
    """Rows of one step: in, out, rejected, dropped."""

    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    dropped: int = 0

    def add(self, other: Counts) -> None:
        """Add another's rows."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.rejected += other.rejected
        self.dropped += other.dropped

    def copy(self) -> Counts:
        """The same numbers."""
        return Counts(self.rows_in, self.rows_out, self.rejected, self.dropped)


@dataclass
class Sum:
    """Rows, and the sum of their hashes mod 2^128; None: they are only counted."""

    rows: int = 0
    digest: int | None = 0

    def add(self, rows: int, digest: int | None) -> None:
        """Add rows with their digest."""
        self.rows += rows
        self.digest = None if digest is None or self.digest is None else (self.digest + digest) % MODULUS


@dataclass
class Sums:
    """What the proof of no loss is made of: sums of edges as sent and as taken, of sinks, counts of operators."""

    sent: dict[str, Sum] = field(default_factory=dict)
    taken: dict[str, Sum] = field(default_factory=dict)
    kept: dict[str, Sum] = field(default_factory=dict)
    """By sink: what it did not refuse."""
    steps: dict[str, Counts] = field(default_factory=dict)

    def add(self, other: Sums) -> None:
        """Add another's sums."""
        for ours, theirs in ((self.sent, other.sent), (self.taken, other.taken), (self.kept, other.kept)):
            for name, found in theirs.items():
                ours.setdefault(name, Sum()).add(found.rows, found.digest)
        for name, counts in other.steps.items():
            self.steps.setdefault(name, Counts()).add(counts)


@dataclass
class Work:
    """The outcome of one batch (or timer, or flush) in a chain, before it is delivered."""

    outputs: list[tuple[Outlet, Batch]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    counts: dict[str, Counts] = field(default_factory=dict)
    sums: Sums = field(default_factory=Sums)
    _digests: dict[int, tuple[Batch, int]] = field(default_factory=dict)

    def of(self, step: str) -> Counts:
        """The counts of a step."""
        found = self.counts.get(step)
        if found is None:
            found = self.counts[step] = Counts()
        return found

    def proved(self, step: str) -> Counts:
        """The counts of an operator for the proof; several steps may have been compiled into one."""
        return self.sums.steps.setdefault(step, Counts())

    def sent(self, edge: str, rows: int, digest: int | None) -> None:
        """Rows leave over an edge; without a digest where they go by a plain call, with nothing in between."""
        self.sums.sent.setdefault(edge, Sum()).add(rows, digest)

    def taken(self, edge: str, rows: int, digest: int | None) -> None:
        """Rows of an edge were worked on."""
        self.sums.taken.setdefault(edge, Sum()).add(rows, digest)

    def digest(self, batch: Batch) -> int:
        """The digest of a batch, computed once however many edges it leaves over."""
        found = self._digests.get(id(batch))
        if found is None:
            found = self._digests[id(batch)] = batch, digest(batch.arrow)
        return found[1]


@dataclass(frozen=True)
class Refusal:
    """Where letters of a step come from, and whether they are kept or only counted."""

    flow: str
    region: str
    step: str
    plugin: str
    keep: bool

    def rows(self, work: Work, batch: Batch, rejected: Sequence[Rejected], input: str) -> set[int]:
        """Rows of a step's input that were refused: which they are, each counted once."""
        seen: set[int] = set()
        for entry in rejected:
            rows = [row for row in entry.rows.to_pylist() if row not in seen]
            seen.update(rows)
            if not rows:
                continue
            if not self.keep:
                work.of(self.step).dropped += len(rows)
                continue
            work.of(self.step).rejected += len(rows)
            work.letters.append(self._letter(batch, rows, entry.code, entry.message, input))
        return seen

    def raw(self, work: Work, code: str, message: str, data: bytes, place: Any, split: str) -> None:
        """Something that a source could not read as rows."""
        import pyarrow as pa

        if not self.keep:
            work.of(self.step).dropped += 1
            return
        work.of(self.step).rejected += 1
        rows = pa.record_batch({"raw": pa.array([data], pa.binary())})
        work.letters.append(
            Letter(
                self.flow,
                self.region,
                self.step,
                code,
                message,
                0,
                1,
                ipc(rows),
                "",
                self.plugin,
                split,
                place,
                at=_now(),
            )
        )

    def _letter(self, batch: Batch, rows: list[int], code: str, message: str, input: str) -> Letter:
        import pyarrow as pa

        part = batch.arrow.take(pa.array(rows, pa.int64()))
        place = batch.envelope.position
        attempts = place["attempts"] + 1 if isinstance(place, dict) and "letter" in place else 0
        return Letter(
            self.flow,
            self.region,
            self.step,
            code,
            message,
            0,
            len(rows),
            ipc(part),
            input,
            self.plugin,
            batch.envelope.split,
            place,
            attempts,
            at=_now(),
        )


def ipc(batch: Any) -> bytes:
    """A record batch as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _now() -> str:
    return datetime.now(UTC).isoformat()
