"""What was found, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataflare_host.cli.output import styled

if TYPE_CHECKING:
    from dataflare_verify.subject import Subject
    from dataflare_verify.trying import Outcome

Json = Any


def as_json(subject: Subject, outcomes: Sequence[Outcome]) -> dict[str, Json]:
    """``{"ok", "cases", "failed", "left_out", "held", "plugin", "version", "runtime", "isolation"}``."""
    tried = [each for each in outcomes if not each.left_out]
    return {
        "plugin": subject.manifest.id,
        "version": subject.manifest.version,
        "artifact": str(subject.artifact),
        "held": [{"component": each.component, "case": each.case} for each in tried if each.held],
        "left_out": [
            {"component": each.component, "case": each.case, "reason": each.left_out}
            for each in outcomes
            if each.left_out
        ],
        "ok": all(each.held for each in outcomes),
        "cases": len(tried),
        "failed": [
            {"component": each.component, "case": each.case, "summary": each.summary, "message": each.wrong}
            for each in tried
            if not each.held
        ],
        "runtime": subject.manifest.runtime,
        "isolation": subject.isolation,
    }


def as_text(answer: Json) -> str:
    """A line a component, the cases that failed with what was found, and the sum."""
    plugin = f"{answer['plugin']} {answer['version']}"
    lines = [f"{styled(plugin, bold=True)}  {answer['runtime']}, {answer['isolation']}", ""]
    failed, left_out = answer["failed"], answer["left_out"]
    components = dict.fromkeys(each["component"] for each in [*answer["held"], *failed, *left_out])
    for name in components:
        held, wrong, out = (
            sum(each["component"] == name for each in listed) for listed in (answer["held"], failed, left_out)
        )
        told = [f"{held} held", *([f"{wrong} failed"] if wrong else []), *([f"{out} left out"] if out else [])]
        lines.append(f"{'✗' if wrong else '✓'} {name}  {', '.join(told)}")
        for each in failed:
            if each["component"] == name:
                lines += [f"    {styled(each['case'], bold=True)}", f"      {each['summary']}"]
                lines += [f"      {line}" for line in each["message"].splitlines()]
    total = f"{answer['cases']} cases, {len(failed)} failed" if failed else f"{answer['cases']} cases held"
    return "\n".join([*lines, "", total])
