"""The plan of a flow: pure JSON, so that it can travel, be compared and be shown."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Json = Any
FORMAT = 1
MAIN = "out"
"""The name of a step's main output: ``from: step`` means ``step.out``."""
Exchange = Literal["forward", "key", "all"]


@dataclass(frozen=True)
class StepPlan:
    """One step, checked: which component, with which configuration, abilities and rights."""

    name: str
    kind: str  # source | processor | sink
    uses: str
    plugin: str
    version: str
    config: dict[str, Json]
    abilities: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """JSON pointer into ``config`` → name of the secret that belongs there."""
    grants: dict[str, Json] = field(default_factory=dict)
    lanes: int | None = None
    place: dict[str, str] = field(default_factory=dict)
    on_error: dict[str, Json] = field(default_factory=dict)
    """``{"policy", "attempts", "delay", "factor", "cap", "then"}``; times in seconds."""
    every: float | None = None
    outputs: dict[str, Json] = field(default_factory=dict)
    """Output name → schema (``Schema.as_json``), None where only reading tells."""
    keyed: tuple[str, ...] = ()
    summary: str = ""

    @property
    def pointer(self) -> str:
        """Where the step stands in the flow file, as a JSON pointer."""
        section = {"source": "sources", "sink": "sinks"}.get(self.kind, "steps")
        return f"/{section}/{self.name}"

    @property
    def stateless(self) -> bool:
        """A processor that may be fused, split and run in parallel."""
        return self.kind == "processor" and not self.by_key and not self.abilities.get("stateful", False)

    @property
    def by_key(self) -> bool:
        """Its state is by key; without key columns all rows have one key, and it runs in one lane."""
        return bool(self.keyed) or self.abilities.get("by") is not None


@dataclass(frozen=True)
class Edge:
    """Rows from an output of a step to an input of another."""

    source: str
    output: str
    target: str
    input: str = ""
    exchange: Exchange = "forward"
    schema: Json = None
    tags: dict[str, list[str]] = field(default_factory=dict)
    columns: tuple[str, ...] | None = None
    """The only columns that anybody downstream reads, or None for all."""

    @property
    def id(self) -> str:
        """``from.output->to`` (``.input`` behind it where the target has named inputs)."""
        return f"{self.source}.{self.output}->{self.target}" + (f".{self.input}" if self.input else "")


@dataclass(frozen=True)
class PathGuarantee:
    """What one source-to-sink path gives: the bits of CONTRACT §6 and the reasons for each."""

    source: str
    sink: str
    steps: tuple[str, ...]
    loses: bool = False
    doubles: bool = False
    visible: bool = False
    effective: str = "exactly_once"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guarantee:
    """The flow's guarantee: all its paths, or-ed together."""

    effective: str = "exactly_once"
    paths: tuple[PathGuarantee, ...] = ()
    wanted: str | None = None
    notes: tuple[str, ...] = ()
    deliver_on_commit: tuple[str, ...] = ()
    """Sinks put behind the durable spool because a guarantee was asked for."""


@dataclass(frozen=True)
class Plan:
    """A flow ready to run: resolved, checked, typed. ``digest`` covers everything but itself."""

    flow: dict[str, Json]
    steps: dict[str, StepPlan]
    edges: tuple[Edge, ...]
    guarantee: Guarantee
    name: str = ""
    mode: dict[str, Json] = field(default_factory=dict)
    engine: dict[str, Json] = field(default_factory=dict)
    state: dict[str, Json] = field(default_factory=dict)
    """mode, engine and state: ``{"uses": …, "with": {…}}``."""
    checkpoint: dict[str, Json] = field(default_factory=dict)
    """``{"interval": seconds, "rows": n, "bytes": n}``"""
    options: dict[str, Json] = field(default_factory=dict)
    """``drain_timeout``, ``time``, ``max_rejects``, ``keep`` and the like, in seconds and numbers."""
    base: str = ""
    """The folder of the flow file: relative paths start here. Not part of the digest."""
    owner: str = ""
    lock: str = ""
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)
    format: int = FORMAT
    digest: str = ""

    def as_json(self) -> dict[str, Json]:
        """The plan as a JSON object."""
        return asdict(self)

    def digested(self) -> Plan:
        """The same plan with its digest set."""
        from dataclasses import replace

        value = self.as_json()
        for outside in ("digest", "base"):
            value.pop(outside)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return replace(self, digest="sha256:" + hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def from_json(cls, value: dict[str, Json]) -> Plan:
        """The plan that ``as_json`` wrote."""
        given = dict(value)
        given["steps"] = {
            name: StepPlan(**{**step, "keyed": tuple(step.get("keyed", ()))}) for name, step in given["steps"].items()
        }
        given["edges"] = tuple(
            Edge(**{**edge, "columns": None if edge.get("columns") is None else tuple(edge["columns"])})
            for edge in given["edges"]
        )
        promise = dict(given["guarantee"])
        promise["paths"] = tuple(
            PathGuarantee(**{**path, "steps": tuple(path["steps"]), "reasons": tuple(path["reasons"])})
            for path in promise["paths"]
        )
        promise["notes"] = tuple(promise["notes"])
        promise["deliver_on_commit"] = tuple(promise["deliver_on_commit"])
        given["guarantee"] = Guarantee(**promise)
        return cls(**given)

    def inputs(self, step: str) -> tuple[Edge, ...]:
        """The edges that lead into a step, in the order of its ``from``."""
        return tuple(edge for edge in self.edges if edge.target == step)

    def outgoing(self, step: str) -> tuple[Edge, ...]:
        """The edges that leave a step."""
        return tuple(edge for edge in self.edges if edge.source == step)
