"""The planner is a component like any other: the plugin set names it, and a stranger's works without ours."""

import pytest

from dataflare.errors import ConfigError
from dataflare_host import Host

PLANNING = '''
from pathlib import Path

from dataflare_host import FlowHead, Guarantee, Plan, Planner, StepPlan


class Lines(Planner):
    """A flow is a text file: each line names a step."""

    def plan(self, flow, host, *, guarantee=None, **options):
        given = Path(flow).read_text().split()
        steps = {name: StepPlan(name, "processor", f"std/{name}", "std", "1", {}) for name in given}
        return Plan({"lines": given}, steps, (), Guarantee(guarantee or "best_effort"), name=self.head(flow).name)

    def head(self, file):
        return FlowHead(file.stem, file.parent)
'''
TABLE = """
[components.planner]
lines = "testplugin_lines.planning:Lines"
[defaults]
planner = { uses = "lines/lines" }
"""


def test_another_planner_takes_the_place_of_ours(site, tmp_path):
    site.install("lines", TABLE, planning=PLANNING)
    file = tmp_path / "small.txt"
    file.write_text("filter\nselect\n")
    with Host.start(["lines"]) as host:
        plan = host.plan(file, guarantee="at_least_once")
        assert (plan.name, list(plan.steps)) == ("small", ["filter", "select"])
        assert plan.guarantee.effective == "at_least_once"
        with pytest.raises(ConfigError, match="the flow `small` does not run here"):
            host.command(str(file), "status", {})


def test_without_a_planner_the_host_says_how_to_get_one(tmp_path):
    with Host.start([]) as host, pytest.raises(ConfigError) as caught:
        host.plan(tmp_path / "flow.yaml")
    assert caught.value.code == "plan.no_planner"
    assert "[defaults]" in (caught.value.problems[0].fix or "")
