"""The planner of this bundle: flow files, mappings of the same form, and flows built in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare_flow.document import read_document
from dataflare_flow.flow import Flow, read_flow
from dataflare_flow.graph import check_graph
from dataflare_host.kinds import FlowHead, Planner

if TYPE_CHECKING:
    from dataflare_host.app import Host
    from dataflare_host.plan import Plan


class FlowPlanner(Planner, name="planner"):
    """Plans flow files, mappings of the same form, and flows built in Python."""

    def plan(self, flow: Flow | Path | str | Mapping[str, Any], host: Host, **options: Any) -> Plan:
        """See ``dataflare_flow.planning.plan_flow``."""
        from dataflare_flow.planning import plan_flow

        return plan_flow(flow, host, **options)

    def head(self, file: Path) -> FlowHead:
        """The name, folder and store of the flow in a file, and the mistakes that can be seen without the plugins."""
        flow, reading = read_flow(read_document(file), file)
        check_graph(flow, reading)
        return FlowHead(flow.name, flow.base, flow.state, tuple(reading.problems))

    def placed(self, file: Path, problem: Problem) -> Problem:
        """The problem with the line and column of its pointer; as it is where the file cannot be read any more."""
        try:
            return read_document(file).placed(problem)
        except ConfigError:
            return problem
