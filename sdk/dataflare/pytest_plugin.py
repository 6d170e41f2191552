"""The pytest plugin: ``--crashes wide`` or ``full`` for crash suites, and the table of what held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

KEY = "dataflare-crashes"

# The store suite says with plain asserts what was wrong.
pytest.register_assert_rewrite(*(f"dataflare.testing.store_{part}" for part in ("leases", "contents", "model")))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--crashes``."""
    group = parser.getgroup("dataflare")
    group.addoption(
        "--crashes", choices=("fast", "wide", "full"), default="fast", help="how thoroughly crash suites kill"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell the suites, which know nothing of pytest."""
    os.environ["DATAFLARE_CRASHES"] = config.getoption("--crashes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Keep what a crash suite found with the test's report, which comes back from wherever it ran."""
    try:
        return (yield)
    finally:
        verdicts = getattr(getattr(item, "instance", None), "verdicts", None)
        if verdicts:
            told = [[each.point, each.sink, each.guarantee, each.held, each.lost, each.doubled] for each in verdicts]
            item.user_properties.append((KEY, [verdicts[0].labels, told]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: a line a place, a column for each flow, store and sink."""
    reports = [each for of in ("passed", "failed") for each in terminalreporter.getreports(of)]
    given = [value for report in reports for key, value in report.user_properties if key == KEY]
    if given and terminalreporter.config.getoption("--crashes") != "fast":
        from dataflare.testing.crash_table import table

        terminalreporter.section("crashes: place x sink")
        for line in table(given):
            terminalreporter.write_line(line)
