"""Flows run from the command line: what is told, exit codes, signals, and orders from another process."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ENDLESS = """\
version: 1
name: demo
sources:
  numbers: {uses: ./shop.py/endless}
sinks:
  out: {uses: ./shop.py/save, from: numbers, with: {path: out.jsonl}}
checkpoint: {interval: 50ms}
"""
WITH_STEP = """\
version: 1
name: demo
sources:
  numbers: {uses: ./shop.py/numbers}
steps:
  step: {uses: ./shop.py/STEP, from: numbers}
sinks:
  out: {uses: ./shop.py/save, from: step, with: {path: out.jsonl}}
"""


def saved(shop: Path) -> list[int]:
    return [json.loads(line)["n"] for line in (shop / "out.jsonl").read_text().splitlines()]


def until_committed(process: "subprocess.Popen[str]") -> None:
    """Returns once the flow has committed an epoch: the sink says so on stderr."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line == "committed\n":
            return
    pytest.fail("the flow ended before it committed:\n" + "".join(seen))


def ended(process: "subprocess.Popen[str]") -> tuple[int, dict]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, json.loads(out.splitlines()[-1]) if out else {}


def test_a_run_tells_what_it_did(say: Callable, shop: Path) -> None:
    told = say("run", "flow.yaml", "--json")
    assert told.code == 0, told.err
    assert len(told.out.splitlines()) == 1
    answer = told.json
    assert (answer["flow"], answer["status"], answer["nothing_new"]) == ("demo", "finished", False)
    assert answer["rows"] == {"read": 10, "written": 10, "rejected": 0, "dropped": 0}
    assert answer["guarantee"] == "at_least_once"
    assert answer["epoch"] >= 1
    assert answer["results"][0]["place"] == str(shop / "out.jsonl")
    assert answer["state"].startswith(str(shop / ".dataflare"))
    assert saved(shop) == list(range(10))
    assert "finished" in told.err


def test_a_second_run_reads_nothing_new_and_says_so(say: Callable, shop: Path) -> None:
    assert say("run", "flow.yaml", "--quiet").out == ""
    again = say("run", "flow.yaml", "--json")
    assert again.code == 0
    assert again.json["nothing_new"] is True
    assert again.json["rows"]["read"] == 0
    assert "nothing new" in say("run", "flow.yaml").err
    assert saved(shop) == list(range(10))


def test_from_start_begins_again(say: Callable, shop: Path) -> None:
    say("run", "flow.yaml", "--quiet")
    again = say("run", "flow.yaml", "--json", "--from-start", "--append")
    assert again.json["rows"]["read"] == 10
    assert saved(shop) == [*range(10), *range(10)]


def test_rejected_rows_are_counted_by_step_with_a_way_to_see_them(say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(WITH_STEP.replace("STEP", "even"))
    told = say("run", "flow.yaml")
    assert told.code == 0
    assert told.out == ""
    assert "5 by step (odd)" in told.err
    assert "dataflare dlq list flow.yaml" in told.err
    letters = say("dlq", "list", "flow.yaml", "--json")
    assert letters.code == 0
    assert "odd" in letters.out
    assert saved(shop) == [0, 2, 4, 6, 8]


def test_a_flow_that_breaks_is_exit_1_with_the_reason(say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(WITH_STEP.replace("STEP", "broken"))
    told = say("run", "flow.yaml", "--json")
    assert told.code == 1
    assert told.json["status"] == "failed"
    assert "the shop burnt down" in json.dumps(told.json["problems"])
    assert "the shop burnt down" in told.err


@pytest.mark.parametrize("flow", ["nosuch.yaml", "bad.yaml"])
def test_a_wrong_flow_is_exit_2_and_still_one_answer(say: Callable, shop: Path, flow: str) -> None:
    (shop / "bad.yaml").write_text("version: 1\nsources: {a: {uses: nosuch/thing}}\nsinks: {}\n")
    told = say("run", flow, "--json")
    assert told.code == 2
    assert told.json["status"] == "failed"
    assert {"flow", "guarantee", "epoch", "rows", "seconds"} <= set(told.json)
    assert told.json["errors"]
    assert all(error["code"] for error in told.json["errors"])


def test_a_guarantee_that_cannot_be_given_is_refused(say: Callable, shop: Path) -> None:
    told = say("run", "flow.yaml", "--guarantee", "effectively_once", "--json")
    assert told.code == 2
    assert told.json["errors"][0]["code"].startswith("plan.")
    assert not (shop / "out.jsonl").exists()


def test_an_unknown_mode_is_refused(say: Callable, shop: Path) -> None:
    told = say("run", "flow.yaml", "--mode", "nosuch", "--json")
    assert (told.code, told.json["errors"][0]["code"]) == (2, "flow.unknown_component")


def test_plan_only_runs_nothing(say: Callable, shop: Path) -> None:
    told = say("run", "flow.yaml", "--plan-only")
    assert told.code == 0
    assert set(told.json["steps"]) == {"numbers", "out"}
    assert not (shop / ".dataflare").exists()


def test_a_terminated_flow_stops_at_a_barrier_and_goes_on_from_there(start: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(ENDLESS)
    process = start("run", "flow.yaml", "--json")
    until_committed(process)
    process.send_signal(signal.SIGTERM)
    code, answer = ended(process)
    assert (code, answer["status"]) == (0, "stopped")
    rows = saved(shop)
    assert rows == list(range(len(rows)))
    assert answer["rows"]["written"] == len(rows)
    again = start("run", "flow.yaml", "--json")
    until_committed(again)
    again.send_signal(signal.SIGINT)
    assert ended(again)[0] == 0
    assert saved(shop) == list(range(len(saved(shop))))
    assert len(saved(shop)) > len(rows)


def test_status_stop_and_a_second_runner(start: Callable, say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(ENDLESS)
    process = start("run", "flow.yaml", "--json")
    until_committed(process)
    status = say("flow", "status", "flow.yaml", "--json").json
    assert (status["flow"], status["status"]) == ("demo", "running")
    assert status["rows"]["read"] > 0
    assert set(status["steps"]) == {"numbers", "out"}
    assert "numbers" in say("flow", "status", "flow.yaml").out
    second = say("run", "flow.yaml", "--json")
    assert (second.code, second.json["errors"][0]["code"]) == (1, "run.already_running")
    stopped = say("flow", "stop", "flow.yaml", "--json")
    assert (stopped.code, stopped.json["ended"]["status"]) == (0, "stopped")
    assert ended(process) == (0, stopped.json["ended"])
    gone = say("flow", "status", "flow.yaml", "--json")
    assert (gone.code, gone.json["errors"][0]["code"]) == (2, "run.not_running")


def test_drain_final_ends_the_input(start: Callable, say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(ENDLESS)
    process = start("run", "flow.yaml", "--json")
    until_committed(process)
    drained = say("flow", "drain", "flow.yaml", "--final")
    assert drained.code == 0, drained.err
    code, answer = ended(process)
    assert code == 0
    assert answer["status"] in drained.out


def test_stop_now_leaves_at_once(start: Callable, say: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(ENDLESS)
    process = start("run", "flow.yaml", "--json")
    until_committed(process)
    assert say("flow", "stop", "flow.yaml", "--now").code == 0
    code, answer = ended(process)
    assert (code, answer["status"]) == (1, "failed")


def test_a_killed_flow_goes_on_with_the_same_command(start: Callable, shop: Path) -> None:
    (shop / "flow.yaml").write_text(ENDLESS)
    process = start("run", "flow.yaml")
    until_committed(process)
    process.kill()
    process.communicate()
    again = start("run", "flow.yaml", "--json")
    until_committed(again)
    again.send_signal(signal.SIGTERM)
    assert ended(again)[0] == 0
    assert set(saved(shop)) == set(range(max(saved(shop)) + 1))
