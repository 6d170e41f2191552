"""Plugins that were compiled with earlier releases of the SDKs answer as they did then, for ever.

A red test here is a break of the contract: published plugins of that release would fail. What is in a folder is never
made anew; a new release of the contract gets a folder of its own (``make.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden.starts import RELEASES, STARTS, Start, extism, go, golden, hosted, python, script
from plugin_js.conftest import engines  # noqa: F401
from plugin_js.scripts import ENGINES
from vectors.conversations import Answering, play

from dataflare.batch import Batch
from dataflare.context import Context
from dataflare.drive import ProcessorDriver, SourceDriver
from dataflare.errors import Reject
from dataflare.guest import Frame
from dataflare.hosting.minors import minor_of
from dataflare.hosting.transport import Transport
from dataflare.memory import MemoryState
from dataflare.schema import Schema
from dataflare.split import Resume
from dataflare_host.manifest import CONTRACT

UNASKED = {"metric", "log"}
"""What a guest may tell its host at any time."""
STATELESS = {"processor:times", "processor:parity", "processor:counter", "tool:add"}
"""What needs no host of its own: an Extism module cannot ask one."""


@pytest.fixture(params=RELEASES, ids=lambda each: each.name)
def release(request: pytest.FixtureRequest) -> Path:
    """Each release in turn."""
    return Path(request.param)


def conversations(release: Path) -> list[dict[str, Any]]:
    """What was said then."""
    found: list[dict[str, Any]] = json.loads(golden(release, "conversations.json"))["conversations"]
    return found


def converse(transport: Transport, said: list[dict[str, Any]]) -> None:
    """Have all conversations, one after another, and end the guest."""
    host = Answering()

    def answer(question: Frame) -> Frame:
        return Frame({}) if question.header["op"] in UNASKED else host(question)

    try:
        for conversation in said:
            play(conversation, lambda frame: transport.call(frame, answer, 60), host)
            transport.call(Frame({"op": "close", "instance": 1}), answer, 60)
    finally:
        transport.close()


@pytest.mark.parametrize("start", [go, python])
def test_a_plugin_answers_as_it_did(release: Path, tmp_path: Path, start: Start) -> None:
    converse(start(release, tmp_path), conversations(release))


@pytest.mark.parametrize("name", ENGINES)
def test_a_script_answers_as_it_did(release: Path, tmp_path: Path, name: str) -> None:
    converse(script(name)(release, tmp_path), conversations(release))


def test_an_extism_module_answers_as_it_did(release: Path, tmp_path: Path) -> None:
    said = [
        each
        for each in conversations(release)
        if {turn["request"].get("component") for turn in each["turns"]} & STATELESS
    ]
    assert said
    converse(extism(release, tmp_path), said)


def test_the_contract_of_this_release_has_its_plugins() -> None:
    assert f"api-{CONTRACT}" in [each.name for each in RELEASES], "make them: python tests/golden/make.py"


# --- as their host uses them, through the adapters ----------------------------------------------------


LEDGERS = [release for release in RELEASES if "processor:ledger" in golden(release, "conversations.json").decode()]


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
@pytest.mark.parametrize("release", LEDGERS, ids=lambda each: each.name, indirect=True)
def test_state_of_an_older_version_is_taken_over(release: Path, tmp_path: Path, start: Any) -> None:
    described, made = hosted(lambda: start(release, tmp_path))
    assert minor_of(described, "golden") == release.name.split("-")[1]
    ledger = made["processor:ledger"]()
    driver = ProcessorDriver(ledger, Context())
    held = list(range(2_500))
    assert driver.migrate_states(1, "sums", held) == [{"sum": value} for value in held]
    with pytest.raises(Reject) as refused:
        driver.migrate_states(1, "sums", [1, -2, 3])
    assert refused.value.code == "overdrawn"


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_positions_of_an_older_version_are_taken_over(release: Path, tmp_path: Path, start: Start) -> None:
    _, made = hosted(lambda: start(release, tmp_path))
    driver = SourceDriver(made["source:shop"](), Context())
    assert driver.migrate_positions(1, [1, 2, 30]) == [11, 21, 301]


@pytest.mark.parametrize("start", [STARTS[name] for name in STARTS if name != "extism"])
@pytest.mark.parametrize("release", LEDGERS, ids=lambda each: each.name, indirect=True)
def test_all_of_a_state_is_read_through(release: Path, tmp_path: Path, start: Any) -> None:
    _, made = hosted(lambda: start(release, tmp_path))
    state = MemoryState()
    batch = Batch.of({"k": [str(n) for n in range(3_000)], "n": list(range(3_000))})
    driver = ProcessorDriver(made["processor:ledger"](), Context(state=state))
    driver.plan({"": Schema(batch.schema)})
    driver.open(Resume())
    driver.process(batch)
    state.apply()
    ((_, told),) = driver.finish().outputs
    driver.close()
    assert told.to_rows() == [{"keys": 3_000, "sum": sum(range(3_000))}]
