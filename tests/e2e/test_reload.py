"""``flow reload``: a running flow goes on by its file and plugins as they are now, and loses or doubles nothing."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare import ConfigError
from dataflare_host import control

FLOW = """\
version: 1
name: demo
sources:
  numbers: {uses: ./shop.py/endless}
sinks:
  out: {uses: ./shop.py/save, from: numbers, with: {path: out.jsonl}}
checkpoint: {interval: 50ms}
"""


@pytest.fixture
def running(start: Callable, shop: Path) -> Callable:
    (shop / "flow.yaml").write_text(FLOW)
    process = start("run", "flow.yaml", "--json")
    assert any("committed" in line for line in process.stderr)
    return process


def ended(process) -> dict:
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])


def rows(shop: Path) -> list[dict]:
    return [json.loads(line) for line in (shop / "out.jsonl").read_text().splitlines()]


def test_it_goes_on_by_the_code_as_it_is_now(running, say: Callable, shop: Path) -> None:
    code = (shop / "shop.py").read_text()
    for version in (2, 3):
        wanted = f'yield {{"n": [position], "version": [{version}]}}, position + 1'
        (shop / "shop.py").write_text(code.replace('yield {"n": [position]}, position + 1', wanted))
        answer = say("flow", "reload", "flow.yaml", "--json")
        assert (answer.code, answer.json["ok"]) == (0, True)
        assert any("committed" in line for line in running.stderr)
    outcome = ended(running)
    written = rows(shop)
    assert [row["n"] for row in written] == list(range(len(written)))
    assert [*dict.fromkeys(row.get("version") for row in written)] == [None, 2, 3]
    assert outcome["rows"]["written"] == len(written)


def test_a_plan_that_is_refused_changes_nothing(running, say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(FLOW.replace("from: numbers", "from: nummbers"))
    answer = say("flow", "reload", "flow.yaml", "--json")
    assert (answer.code, answer.json["errors"][0]["code"]) == (2, "flow.unknown_step")
    (shop / "flow.yaml").write_text(FLOW.replace("name: demo", "name: other"))
    with control.connected(shop, "demo") as line, pytest.raises(ConfigError, match=r"run\.renamed"):
        line.ask("reload", {})
    (shop / "flow.yaml").write_text(FLOW)
    assert say("flow", "status", "flow.yaml", "--json").json["status"] == "running"
    assert ended(running)["status"] == "stopped"


def test_a_stop_that_comes_meanwhile_is_a_stop(running, say: Callable, shop: Path) -> None:
    assert say("flow", "reload", "flow.yaml", "--json").json["ok"]
    assert say("flow", "stop", "flow.yaml", "--json").json["ended"]["status"] == "stopped"
    out, _ = running.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["status"] == "stopped"


def test_a_flow_that_does_not_run_cannot_be_reloaded(say: Callable, shop: Path) -> None:
    answer = say("flow", "reload", "flow.yaml", "--json")
    assert (answer.code, answer.json["errors"][0]["code"]) == (2, "run.not_running")
