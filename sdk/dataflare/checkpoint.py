"""What one epoch commits, in one transaction: the format that every store keeps (number 1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

Json = Any
FORMAT = 1
SplitStatus = Literal["new", "active", "finished"]
LetterStatus = Literal["waiting", "replayed", "dropped"]


@dataclass
class SplitState:
    """One split of the committed list; the list wins over what a source says after a restart."""

    id: str
    status: SplitStatus = "new"
    position: Json = None
    data: Json = None
    start: Json = None
    after: tuple[str, ...] = ()
    size: int | None = None


@dataclass
class EdgeProof:
    """Rows that passed an edge since the proof began, and the sum of their hashes mod 2^128 (never XOR).

    ``rows`` and ``digest`` as the sending side counted them, the others as the receiving side did. An empty digest:
    the rows go by a plain call within a lane, and are only counted.
    """

    rows: int = 0
    digest: str = "0"
    taken_rows: int = 0
    taken_digest: str = "0"


@dataclass
class StepProof:
    """Rows of a step since the proof began; of several steps where they were compiled into one.

    ``first``: the first of them. ``outputs``: how many the last has. ``delays``: it may keep rows from one epoch for
    another, so that only the end tells whether all came out.
    """

    kind: str
    first: str
    last: str
    cardinality: str = "any"
    outputs: int = 1
    delays: bool = False
    read: int = 0
    written: int = 0
    refused: int = 0


@dataclass
class SinkProof:
    """Rows that a sink was given and did not refuse since the proof began, and the sum of their hashes."""

    rows: int = 0
    digest: str = "0"


@dataclass
class Proof:
    """The sums of a region by which a loss or a doubling shows; together with ``Checkpoint.proofs``.

    ``by``: what computed the digests; ``since``: the epoch before the first that is counted. Both change, and all sums
    begin at nothing, where digests are computed in another way or the flow has other steps. ``differs``: what did not
    add up, and the first epoch in which it did not; kept for good.
    """

    by: str = ""
    since: int = 0
    steps: dict[str, StepProof] = field(default_factory=dict)
    sinks: dict[str, SinkProof] = field(default_factory=dict)
    differs: dict[str, int] = field(default_factory=dict)


@dataclass
class StepCounts:
    """Rows of a step since the incarnation began."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    dropped: int = 0


@dataclass
class Checkpoint:
    """One committed epoch of one region.

    Maps are by step, ``tokens`` and ``snapshots`` then by lane (as text), ``schemas`` and ``proofs`` by edge
    (``from.output->to``). ``snapshots`` are base64. ``finished``: all input was read and flushed.
    ``made_with`` is the configuration that each step in ``made`` had then.
    """

    flow: str
    region: str
    incarnation: str
    epoch: int
    layout: int = 1
    format: int = FORMAT
    engine: str = ""
    plugins: dict[str, str] = field(default_factory=dict)
    plan: str = ""
    splits: dict[str, list[SplitState]] = field(default_factory=dict)
    discovery: dict[str, Json] = field(default_factory=dict)
    position_versions: dict[str, int] = field(default_factory=dict)
    state_versions: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Json]] = field(default_factory=dict)
    made: dict[str, Json] = field(default_factory=dict)
    made_with: dict[str, Json] = field(default_factory=dict)
    keyed: dict[str, list[str]] = field(default_factory=dict)
    schemas: dict[str, Json] = field(default_factory=dict)
    watermarks: dict[str, str] = field(default_factory=dict)
    counts: dict[str, StepCounts] = field(default_factory=dict)
    proofs: dict[str, EdgeProof] = field(default_factory=dict)
    proof: Proof = field(default_factory=Proof)
    guarantee: list[str] = field(default_factory=list)
    finished: bool = False
    settled: bool = False
    committed_at: str = ""
    layers: list[str] = field(default_factory=list)
    """The layers that its content went through, the first one first; empty where it is plain."""
    moved: str = ""
    """The store that the flow was copied to and goes on in; empty where it goes on here."""

    def as_json(self) -> dict[str, Any]:
        """The checkpoint as a JSON object; the values of its splits are shared with it."""
        # An epoch may have thousands of splits, and ``asdict`` is slow: it copies each value of each.
        splits = {step: [dict(vars(split)) for split in listed] for step, listed in self.splits.items()}
        return {**asdict(replace(self, splits={})), "splits": splits}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Checkpoint:
        """The checkpoint that ``as_json`` wrote. Raises ValueError for a newer format."""
        if value.get("format", 0) > FORMAT:
            raise ValueError(f"checkpoint format {value['format']} is newer than {FORMAT}")
        known = {f.name for f in fields(cls)}
        given = {name: item for name, item in value.items() if name in known}
        given["splits"] = {
            step: [SplitState(**{**item, "after": tuple(item.get("after", ()))}) for item in listed]
            for step, listed in given.get("splits", {}).items()
        }
        given["counts"] = {step: StepCounts(**item) for step, item in given.get("counts", {}).items()}
        given["proofs"] = {edge: EdgeProof(**item) for edge, item in given.get("proofs", {}).items()}
        proof = given.get("proof", {})
        steps = {name: StepProof(**item) for name, item in proof.get("steps", {}).items()}
        sinks = {name: SinkProof(**item) for name, item in proof.get("sinks", {}).items()}
        given["proof"] = Proof(**{**proof, "steps": steps, "sinks": sinks})
        return cls(**given)


class StateChange(NamedTuple):
    """One key's new value (canonical JSON bytes) in the state ``name`` of a step; None: forget.

    ``expires`` is in seconds since 1970.

    A tuple, because an epoch may have a million of them.
    """

    step: str
    name: str
    group: int
    key: bytes
    value: bytes | None
    expires: float | None = None


@dataclass(frozen=True)
class Letter:
    """Rows refused for one reason in one batch: a dead letter.

    ``rows`` is an Arrow IPC stream of the refusing step's input rows (for a source: one column ``raw``),
    ``place`` where they came from, ``id`` is given by the store and only grows.
    """

    flow: str
    region: str
    step: str
    code: str
    message: str
    epoch: int
    count: int
    rows: bytes
    input: str = ""
    plugin: str = ""
    split: str = ""
    place: Json = None
    attempts: int = 0
    status: LetterStatus = "waiting"
    at: str = ""
    id: int = 0


@dataclass
class Changes:
    """What goes into the store with a checkpoint, in the same transaction."""

    state: list[StateChange] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    replayed: list[int] = field(default_factory=list)
    """Letters that this epoch turns to ``replayed``."""
    forgotten: list[int] = field(default_factory=list)
    """Letters that are no longer kept."""


@dataclass(frozen=True)
class EpochInfo:
    """A line of a region's history."""

    epoch: int
    committed_at: str
    settled: bool
    finished: bool
    bytes: int = 0


@dataclass(frozen=True)
class LeaseInfo:
    """Who holds a region: token, owner, a counter that moves with each beat, and whether it was given back.

    The owner is JSON: pid, host, start time, boot id.
    """

    token: int
    owner: str
    beat: int
    released: bool = False
