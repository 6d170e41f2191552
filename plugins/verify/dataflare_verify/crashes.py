"""Flows with the component in them that are killed: the crash suite of ``dataflare.testing`` on one plugin.

The host dies with all that it holds, at places that a run passes, then again while it recovers; afterwards what the
targets hold is judged by the guarantee that the plan gave.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.testing.crash_suite import Crashes
from dataflare.testing.suite import require
from dataflare.testing.surroundings import context
from dataflare.testing.writing import Epochs
from dataflare_verify import tables
from dataflare_verify.subject import write_set

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_verify.examples import Example
    from dataflare_verify.subject import Subject

Json = Any
PLACES = {"source": ("read", "decided"), "sink": ("prepared", "decided")}
"""Where a run is killed, where not everywhere."""
PARTS = 3


def require_held(subject: Subject, component: type[Component], example: Example, thorough: bool) -> None:
    """Fail unless every sink of a flow with this component keeps its guarantee, wherever the flow is killed."""
    flow = _SourceFlow if component.kind == "source" else _SinkFlow
    made = flow(subject, component, example)
    crashes = Crashes(made.make, made.content)
    verdicts = list(crashes.everywhere(None if thorough else PLACES[component.kind], full=thorough))
    broken = [each for each in verdicts if not each.held]
    told = [f"killed at {each.kills} ({each.guarantee}): {each.wrong}" for each in broken]
    require(not broken, "\n".join(told))
    require(bool(verdicts), "its flow passes none of the places where it could be killed")


class _Flow:
    """Makes the flow in a fresh folder, and reads what its sink has written."""

    def __init__(self, subject: Subject, component: type[Component], example: Example) -> None:
        self.subject, self.component, self.example = subject, component, example

    def make(self, folder: Path) -> Path:
        subject = self.subject
        write_set(folder, subject.manifest, subject.package, subject.isolation)
        flow = {
            "version": 1,
            "name": "verify",
            "checkpoint": {"interval": "1ms", "rows": max(1, len(self.example.rows) // PARTS)},
            **self.steps(folder, self.example.prepare(folder)),
        }
        (folder / "verify-flow.yaml").write_text(json.dumps(flow), "utf-8")
        return folder / "verify-flow.yaml"

    @property
    def uses(self) -> str:
        return f"{self.subject.manifest.id}/{self.component.spec.name}"

    def steps(self, folder: Path, config: Mapping[str, Json]) -> dict[str, Json]:
        raise NotImplementedError

    def content(self, folder: Path) -> Mapping[str, Iterable[Any]]:
        raise NotImplementedError


class _SourceFlow(_Flow):
    def steps(self, folder: Path, config: Mapping[str, Json]) -> dict[str, Json]:
        target = {"uses": "std/files", "from": "it", "with": {"path": "out.jsonl", "format": "jsonl"}}
        return {"sources": {"it": {"uses": self.uses, "with": config}}, "sinks": {"out": target}}

    def content(self, folder: Path) -> Mapping[str, Iterable[Any]]:
        file = folder / "out.jsonl"
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return {"out": [json.loads(line) for line in lines]}


class _SinkFlow(_Flow):
    def steps(self, folder: Path, config: Mapping[str, Json]) -> dict[str, Json]:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        (folder / "rows").mkdir()
        for number, part in enumerate(tables.cut(self.example.batch, PARTS)):
            parquet.write_table(pa.table(part.arrow), folder / "rows" / f"{number}.parquet")
        rows = {"uses": "std/files", "with": {"path": "rows/*.parquet", "format": "parquet"}}
        target = {"uses": self.uses, "from": "rows", "with": config}
        return {"sources": {"rows": rows}, "sinks": {"it": target}}

    def content(self, folder: Path) -> Mapping[str, Iterable[Any]]:
        # Looking must not disturb what the next run finds: a copy is looked at.
        seen = folder.with_name(f"{folder.name}-seen")
        shutil.copytree(folder, seen, symlinks=True, ignore=shutil.ignore_patterns(".dataflare", ".said*"))
        try:
            config = self.example.placed(seen)
            ctx = context(seen, base=seen, step="it", flow="verify")
            with Epochs(self.component, fence=99, made={"existing": "append"}, ctx=ctx, **config) as reader:
                return {"it": reader.rows()}
        finally:
            shutil.rmtree(seen, ignore_errors=True)
