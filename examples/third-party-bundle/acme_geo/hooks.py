"""What the plugin says to plans that use it."""

from collections.abc import Iterator

from dataflare.errors import Problem


def dataflare_check_plan(plan) -> Iterator[Problem]:
    """`legs` needs rows in order, so its source must be read in one lane."""
    if not any(step.uses == "acme-geo/legs" for step in plan.steps.values()):
        return
    for step in plan.steps.values():
        if step.kind == "source" and (step.lanes or 1) > 1:
            yield Problem(
                "acme_geo.order",
                f"`{step.name}` is read in {step.lanes} lanes, so the rows of a thing may come out of order",
                pointer=f"{step.pointer}/lanes",
                fix="write `lanes: 1`",
            )
