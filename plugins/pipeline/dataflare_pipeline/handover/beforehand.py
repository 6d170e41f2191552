"""What a new runner process does before it takes a flow over: it plans, reads the state, tries the new code.

Nothing here needs the lease, and nothing writes; whatever fails refuses the reload, and the flow has not noticed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.batch import Batch, Envelope
from dataflare.context import Context
from dataflare.errors import ConfigError, StateError
from dataflare.hosting import warm
from dataflare.schema import Schema
from dataflare_host import Host
from dataflare_host.kinds import Budget
from dataflare_host.layout import Layout, Part, Region
from dataflare_host.manifest import Manifest
from dataflare_host.plan import Plan
from dataflare_pipeline.engine import Pipeline
from dataflare_pipeline.epoch import check_fits
from dataflare_pipeline.handing import Borrowed
from dataflare_pipeline.handover.held import planned
from dataflare_pipeline.handover.preloaded import Preloaded
from dataflare_pipeline.reload import check_same
from dataflare_pipeline.shadow import try_positions, try_processor

if TYPE_CHECKING:
    from dataflare.checkpoint import Checkpoint
    from dataflare_pipeline.session import Session

Json = Any
ONCE = ("from_start", "existing", "replay", "migrate")
"""Options that somebody gave a run, which no flow file has."""


class Beforehand:
    """A flow that is ready to be taken over. ``brief`` is what ``Leaving.brief`` told. Raises DataflareError."""

    def __init__(self, brief: Mapping[str, Json]) -> None:
        self.plugin = str(brief["plugin"])
        self.host = Host.like(brief["host"])
        old = Plan.from_json(brief["plan"])
        new = self._planned(brief, old)
        self.session = _session(brief, new, self.host)
        self.session.store.open(ctx=Context(flow=new.name, base=self.session.base))
        self._held: dict[str, Checkpoint] = {}
        for name, region in self.session.part.layout.regions.items():
            held = self.session.store.load(new.name, name)
            if held is not None:
                check_fits(held, new, region)
                self._held[name] = held
        for step in new.steps.values():
            if step.kind == "source" and (held := self._of(step.name)) is not None:
                try_positions(self.session, step, held)
            made = type(self.session.component(step.name))
            warm(made, step.lanes or 1)
        self.state = Preloaded(self.session, self._held)

    def shadow(self, told: Mapping[str, Json], parts: Sequence[bytes]) -> None:
        """Run the new code on recent batches over the state as it was last committed; what it gives is thrown away."""
        batches: dict[str, list[tuple[Batch, str]]] = {}
        for each, part in zip(told["batches"], parts, strict=True):
            batches.setdefault(each["step"], []).append((_batch(part, each["ingested"]), each["input"]))
        for step in self.session.plan.steps.values():
            if step.plugin == self.plugin and step.kind == "processor":
                schemas = told["schemas"].get(step.name, {})
                known = {input: Schema.from_json(given) for input, given in schemas.items()}
                state = Borrowed(self.state.first(step.name), None) if step.by_key else None
                recent = batches.get(step.name, ())
                try_processor(self.session, step, self._of(step.name), state, known, recent)

    def _planned(self, brief: Mapping[str, Json], old: Plan) -> Plan:
        host, plugin, version = self.host, self.plugin, brief["version"]
        host.enter(Path(old.base))
        faulty = [each for each in host.table().faulty if each.id == plugin]
        if faulty:
            raise ConfigError(*faulty[0].problems)
        new = planned(old, host)
        now, held = host.table().plugins.get(plugin), brief["manifest"]
        versions = {step.version for step in new.steps.values() if step.plugin == plugin}
        if version is not None and version not in versions:
            message = f"there is `{plugin}` {', '.join(sorted(versions))} here, not {version}"
            raise ConfigError.of("reload.version", message, fix="add that version first: `dataflare plugin add`")
        before = {step.version for step in old.steps.values() if step.plugin == plugin}
        if versions == before and (now is None or (held is not None and now == Manifest.from_json(held))):
            message = f"the flow runs `{plugin}` {', '.join(sorted(before))} as it is here"
            raise ConfigError.of("reload.same", message, fix="add the new version first: `dataflare plugin add`")
        check_same(old, new, plugin)
        return new

    def _of(self, step: str) -> Checkpoint | None:
        """The checkpoint of a step's region."""
        regions = self.session.part.layout.regions
        return next((self._held.get(name) for name, region in regions.items() if step in region.steps), None)


def session_for(brief: Mapping[str, Json]) -> Session:
    """A flow that begins in a process of its own: what the first runner of it there has. Raises DataflareError."""
    host = Host.like(brief["host"])
    old = Plan.from_json(brief["plan"])
    new = planned(old, host)
    asked = {word: old.options[word] for word in ONCE if word in old.options}
    return _session(brief, replace(new, options={**new.options, **asked}), host)


def _session(brief: Mapping[str, Json], plan: Plan, host: Host) -> Session:
    told = brief["layout"]
    regions = {name: Region(name, tuple(each["steps"]), each["lanes"]) for name, each in told["regions"].items()}
    layout = Layout(told["number"], told["first_epoch"], regions)
    part = Part(plan, layout, "runner-0", tuple(regions), tuple(regions))
    engine = host.component(plan.engine["uses"], plan.engine.get("with", {}), "engine", Path(plan.base))
    if not isinstance(engine, Pipeline):
        raise StateError.of("reload.plan", f"the flow has another engine now: `{plan.engine['uses']}`")
    return engine.session(part, host, Budget(*brief["budget"]))


def _batch(part: bytes, ingested: str | None) -> Batch:
    import pyarrow as pa

    def batches() -> Iterator[Any]:
        with pa.ipc.open_stream(io.BytesIO(part)) as stream:
            yield from stream

    at = None if ingested is None else datetime.fromisoformat(ingested)
    return Batch(next(batches()), Envelope(ingested=at))
