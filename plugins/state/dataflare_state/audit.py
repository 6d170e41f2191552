"""``dataflare audit flow``: whether what left the sources is what the sinks committed, and where it first was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataflare import Command, StateError, field
from dataflare.checkpoint import Checkpoint, StepProof
from dataflare.proof import COUNTED, Difference, differences, source_of
from dataflare_state.opening import Kept, kept_of

Json = Any


@dataclass(frozen=True)
class Finding:
    """A difference, and the first epoch that has it; not ``exact``: that epoch or one before it, which is not kept."""

    region: str
    difference: Difference
    epoch: int
    exact: bool = True

    def as_json(self) -> dict[str, Json]:
        """The finding as a JSON object."""
        found = self.difference
        told = {"region": self.region, "place": found.place, "epoch": self.epoch, "exact": self.exact}
        return {**told, "expected": found.expected, "found": found.found, "message": found.message}


class AuditFlow(Command, group="audit", name="audit.flow"):
    """Compare what left the sources of a flow with what its sinks committed, by rows and digests; exit code 1: not ok.

    Every epoch since the flow began is in the sums; the first epoch that differs is named.
    """

    readback: bool = field(default=False, help="Also read the targets and compare; the flow must not run.")

    def call(self, host: Any, flow: Path) -> Json:
        """The sums, and every difference. Raises StateError (``audit.no_proof``)."""
        with kept_of(host, flow) as kept:
            findings, newest = list[Finding](), list[Checkpoint]()
            for region in kept.regions():
                checkpoints = _kept(kept, region)
                if checkpoints:
                    newest.append(checkpoints[-1])
                    findings += judged(region, checkpoints)
            findings += _letters(kept, newest)
            answer = {"flow": kept.flow, "ok": not findings, **_sums(newest)}
            answer["differences"] = [found.as_json() for found in findings]
            answer["first"] = min((found.epoch for found in findings), default=None)
            if self.readback:
                from dataflare_state.readback import compared

                answer["targets"] = compared(host, flow, kept, newest)
                answer["ok"] = answer["ok"] and all(target["ok"] is not False for target in answer["targets"].values())
            return answer

    def show(self, answer: Json) -> str:
        """A line for each source, step, sink and difference."""
        lines = [f"{answer['flow']}: {'ok' if answer['ok'] else 'NOT OK'}, {answer['epochs']} epochs"]
        for word in ("sources", "steps", "sinks"):
            for name, told in answer[word].items():
                refused = f", {told['refused']:,} refused" if told["refused"] else ""
                rows = f"{told['rows']:,}" if word != "steps" else f"{told['read']:,} in, {told['written']:,} out"
                lines.append(f"  {word[:-1]:<7} {name}: rows {rows}{refused}")
        lines += [
            f"  epoch {found['epoch']}{'' if found['exact'] else ' or before'}: {found['message']}"
            for found in answer["differences"]
        ]
        lines += [f"  target  {name}: {told['message']}" for name, told in answer.get("targets", {}).items()]
        return "\n".join([*lines, *(f"  {note}" for note in answer["notes"])])


def judged(region: str, checkpoints: list[Checkpoint]) -> Iterable[Finding]:
    """What does not add up in the kept checkpoints of a region, oldest first, and from which epoch on."""
    newest = checkpoints[-1]
    found: dict[str, Finding] = {}
    before: int | None = None
    for made in checkpoints:
        same = (made.incarnation, made.proof.by, made.proof.since) == (
            newest.incarnation,
            newest.proof.by,
            newest.proof.since,
        )
        if not same:
            continue
        for wrong in differences(made.proofs, made.proof.steps, "end" if made.finished else "all"):
            exact = made.epoch == (made.proof.since if before is None else before) + 1
            first = found.get(wrong.place, Finding(region, wrong, made.epoch, exact))
            found[wrong.place] = replace(first, difference=wrong)
        before = made.epoch
    for place, epoch in newest.proof.differs.items():
        known = found.get(place)
        message = f"{place} did not add up in epoch {epoch}, though all epochs together do"
        found[place] = Finding(region, known.difference if known else Difference(place, message, 0, 0), epoch)
    return sorted(found.values(), key=lambda finding: finding.epoch)


def _kept(kept: Kept, region: str) -> list[Checkpoint]:
    """The kept checkpoints of a region, oldest first. Raises StateError for one without sums."""
    epochs = sorted(info.epoch for info in kept.store.history(kept.flow, region))
    loaded = [kept.store.load(kept.flow, region, epoch) for epoch in epochs]
    found = [made for made in loaded if made is not None]
    if found and not found[-1].proof.by and any(counts.read or counts.written for counts in found[-1].counts.values()):
        raise StateError.of(
            "audit.no_proof",
            f"the state of `{kept.flow}` has no sums to audit",
            kind="config",
            cause=f"epoch {found[-1].epoch} was made by `{found[-1].engine}`, which keeps none",
            fix="run the flow: its sums begin with the next epoch",
        )
    return found


def _letters(kept: Kept, newest: list[Checkpoint]) -> list[Finding]:
    """Refused rows that are not in the dead-letter store."""
    held: Counter[str] = Counter()
    for letter in kept.store.letters(kept.flow, status=None):
        held[letter.step] += letter.count
    found = []
    for made in newest:
        for step, counts in made.counts.items():
            if counts.rejected > held[step]:
                message = f"`{step}` refused {counts.rejected} rows, {held[step]} are kept as dead letters"
                wrong = Difference(f"letters of {step}", message, counts.rejected, held[step])
                found.append(Finding(made.region, wrong, made.epoch, exact=False))
    return found


def _sums(newest: list[Checkpoint]) -> dict[str, Json]:
    """What was read, what became of it, and what was committed, over all regions."""
    sources, steps, sinks = dict[str, Json](), dict[str, Json](), dict[str, Json]()
    notes: list[str] = []
    for made in newest:
        for name, step in made.proof.steps.items():
            if step.kind == "source":
                sources[name] = {"rows": step.written, "digest": _digest(made, name, step), "refused": step.refused}
            elif step.kind == "sink":
                kept = made.proof.sinks.get(name)
                told = {"rows": kept.rows, "digest": kept.digest} if kept else {"rows": 0, "digest": "0"}
                sinks[name] = {**told, "refused": step.refused}
            else:
                told = {"cardinality": step.cardinality, "read": step.read, "written": step.written}
                steps[name] = {**told, "refused": step.refused}
        notes += made.guarantee
        if made.proof.since:
            notes.append(f"the sums of {made.region} begin after epoch {made.proof.since}")
        if not made.settled:
            notes.append(f"epoch {made.epoch} of {made.region} is decided, and not told everywhere yet")
    epochs = sum(made.epoch - made.proof.since for made in newest)
    return {"epochs": epochs, "sources": sources, "steps": steps, "sinks": sinks, "notes": notes}


def _digest(made: Checkpoint, name: str, step: StepProof) -> str | None:
    """The digest of what a source gave, where all of it left its lane over one edge."""
    edges = [proof for edge, proof in made.proofs.items() if source_of(edge) == name]
    known = step.outputs == 1 and edges and edges[0].digest != COUNTED
    return edges[0].digest if known else None
