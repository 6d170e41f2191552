"""The plan of a flow: pure JSON, so that it can travel, be compared and be shown."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

Json = Any
T = TypeVar("T")
FORMAT = 1
MAIN = "out"
"""The name of a step's main output: ``from: step`` means ``step.out``."""
Exchange = Literal["forward", "key", "all"]


ADDRESSES = ("uri", "url", "dsn", "address")
"""Words of a configuration whose values may hold a password."""
_IN_URI = re.compile(r"(?<=://)([^/@:]*):[^/]*@")
_IN_PAIRS = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&\s]*)", re.IGNORECASE)


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

    def shown(self) -> dict[str, Any]:
        """The plan as JSON for people to see: addresses without their passwords."""
        told: dict[str, Any] = _shown(self.as_json())
        return told

    def as_json(self) -> dict[str, Json]:
        """The plan as a JSON object."""
        return asdict(self)

    def digested(self) -> Plan:
        """The same plan with its digest set."""
        value = self.as_json()
        for outside in ("digest", "base"):
            value.pop(outside)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return replace(self, digest="sha256:" + hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def from_json(cls, value: dict[str, Json]) -> Plan:
        """The plan that ``as_json`` wrote."""
        steps = {name: _of_json(StepPlan, step) for name, step in value["steps"].items()}
        edges = tuple(_of_json(Edge, edge) for edge in value["edges"])
        paths = tuple(_of_json(PathGuarantee, path) for path in value["guarantee"]["paths"])
        guarantee = _of_json(Guarantee, {**value["guarantee"], "paths": paths})
        return cls(**{**value, "steps": steps, "edges": edges, "guarantee": guarantee})

    def inputs(self, step: str) -> tuple[Edge, ...]:
        """The edges that lead into a step, in the order of its ``from``."""
        return tuple(edge for edge in self.edges if edge.target == step)

    def outgoing(self, step: str) -> tuple[Edge, ...]:
        """The edges that leave a step."""
        return tuple(edge for edge in self.edges if edge.source == step)


def _of_json(made: type[T], value: dict[str, Json]) -> T:
    """A dataclass from its JSON object, whose lists are tuples where the dataclass has tuples."""
    tuples = {each.name for each in fields(made) if str(each.type).startswith("tuple")}  # type: ignore[arg-type]
    return made(**{key: tuple(item) if key in tuples and item is not None else item for key, item in value.items()})


def without_password(address: str) -> str:
    """An address that can be shown."""
    return _IN_PAIRS.sub(r"\1***", _IN_URI.sub(r"\1:***@", address))


def _shown(value: Any, word: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _shown(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return without_password(value) if word in ADDRESSES and isinstance(value, str) else value
