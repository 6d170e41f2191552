"""How a plan is cut into regions, lanes and parts: numbered, stored, changed only when settled."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataflare_host.plan import Plan

KEY_GROUPS = 256


@dataclass(frozen=True)
class Region:
    """Steps whose lanes must commit together: the unit of lease, token and epoch. ``lanes``: by step."""

    name: str
    steps: tuple[str, ...]
    lanes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """The numbered cut of a plan."""

    number: int
    first_epoch: int
    regions: dict[str, Region]

    def cut(self, plan: Plan, runners: int) -> list[Part]:
        """Parts for ``runners`` runners: whole regions, spread evenly."""
        parts: list[list[str]] = [[] for _ in range(max(1, min(runners, len(self.regions))))]
        for index, name in enumerate(sorted(self.regions)):
            parts[index % len(parts)].append(name)
        return [Part(plan, self, f"runner-{index}", tuple(names), tuple(names)) for index, names in enumerate(parts)]


@dataclass(frozen=True)
class Part:
    """What one runner runs: ``regions`` are the regions it has lanes of, ``leads`` those it leads."""

    plan: Plan
    layout: Layout
    runner: str
    regions: tuple[str, ...]
    leads: tuple[str, ...]


def layout_of(plan: Plan, lanes: dict[str, int], before: Layout | None = None) -> Layout:
    """The layout of a plan: a region for each set of connected steps, named by its first step in the plan's order."""
    leader = {name: name for name in plan.steps}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for edge in plan.edges:
        first, second = find(edge.source), find(edge.target)
        if first != second:
            leader[second] = first
    members: dict[str, list[str]] = {}
    for name in plan.steps:
        members.setdefault(find(name), []).append(name)
    regions = {
        steps[0]: Region(steps[0], tuple(steps), {step: lanes.get(step, 1) for step in steps})
        for steps in members.values()
    }
    if before is not None and before.regions == regions:
        return before
    return Layout((before.number + 1) if before else 1, 1, regions)
