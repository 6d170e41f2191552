"""Keyrings: where keys come from, and what is said when they do not."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflare.component import Keyring
from dataflare.context import Context
from dataflare.errors import StateError
from dataflare_host.cli import main
from dataflare_state.keyrings import KeyringCommand, KeyringEnv, KeyringFile

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
TEXT = f"# keys of the shop\n2025: {OLD}\n\n2026: {NEW}\n"


def opened(made: Keyring, base: Path) -> Keyring:
    made.open(Context(base=base))
    return made


@pytest.fixture(params=["file", "env", "command"])
def ring(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(TEXT)
    monkeypatch.setenv("2025", OLD)
    monkeypatch.setenv("2026", NEW)
    given: dict[str, Keyring] = {
        "file": KeyringFile(path="keys"),
        "env": KeyringEnv(variables=["2025", "2026"]),
        "command": KeyringCommand(command=["cat", "keys"]),
    }
    return opened(given[request.param], tmp_path)


def test_the_last_key_wraps_and_every_key_unwraps(ring: Keyring) -> None:
    assert ring.current() == "2026"
    data_key = os.urandom(32)
    for name in ("2025", "2026"):
        wrapped = ring.wrap(name, data_key)
        assert data_key not in wrapped
        assert ring.unwrap(name, wrapped) == data_key
    with pytest.raises(StateError) as wrong:
        ring.unwrap("2025", ring.wrap("2026", data_key))
    assert wrong.value.code == "state.key_wrong"
    with pytest.raises(StateError) as missing:
        ring.unwrap("2024", wrapped)
    problem = missing.value.problems[0]
    assert (problem.code, problem.details) == ("state.key_missing", {"key": "2024"})
    assert "`2025`, `2026`" in str(problem.cause)


def test_a_key_that_is_added_later_is_found(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(f"2025: {OLD}\n")
    writer, reader = (opened(KeyringFile(path="keys"), tmp_path) for _ in range(2))
    path.write_text(TEXT)
    assert writer.current() == "2026"
    assert reader.unwrap("2026", writer.wrap("2026", b"k" * 32)) == b"k" * 32


BAD = {
    "no key": "# nothing\n",
    "not a line": "hello\n",
    "twice": f"a: {OLD}\na: {NEW}\n",
    "too short": f"a: {base64.b64encode(b'short').decode()}\n",
    "too long": f"a: {base64.b64encode(b'x' * 33).decode()}\n",
    "not base64": "a: $$$\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_file_is_told_and_no_key_is_shown(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(text)
    refused = refusal(KeyringFile(path="keys"), tmp_path)
    assert OLD not in refused


def refusal(made: Keyring, base: Path) -> str:
    with pytest.raises(StateError) as error:
        opened(made, base)
    problem = error.value.problems[0]
    assert problem.code == "state.keyring"
    assert problem.cause
    assert problem.fix
    return str(error.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(TEXT)
    path.chmod(0o640)
    assert "chmod 600" in refusal(KeyringFile(path="keys"), tmp_path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    assert "keyring new" in refusal(KeyringFile(path="none"), tmp_path)
    assert "NOT_THERE" in refusal(KeyringEnv(variables=["NOT_THERE"]), tmp_path)
    assert "no-such-program" in refusal(KeyringCommand(command=["no-such-program"]), tmp_path)


PROGRAMS: list[tuple[list[str], dict[str, Any], str]] = [
    (["-c", "import sys; sys.exit('locked')"], {}, "locked"),
    (["-c", "print('nothing')"], {}, "id: key"),
    (["-c", "import time; time.sleep(60)"], {"timeout": 0.2}, "longer than 0.2 s"),
]


@pytest.mark.parametrize(("words", "config", "told"), PROGRAMS)
def test_a_command_that_fails_is_told(words: list[str], config: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in refusal(KeyringCommand(command=[sys.executable, *words], **config), tmp_path)


def line(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The answer or the first error of a command line."""
    main([*words, "--json"])
    out = capsys.readouterr().out
    assert OLD not in out
    answer = json.loads(out)
    found: dict[str, Any] = answer.get("errors", [answer])[0]
    return found


def test_a_command_makes_a_key_file_and_adds_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys"
    first = line(capsys, "keyring", "new", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    second = line(capsys, "keyring", "new", str(path))
    third = line(capsys, "keyring", "new", str(path), "--id", "mine")
    assert third["keys"] == [first["id"], second["id"], "mine"]
    assert opened(KeyringFile(path="keys"), tmp_path).current() == "mine"
    for bad in ("mine", "a:b", " ", "a\nb"):
        assert line(capsys, "keyring", "new", str(path), "--id", bad)["code"] == "state.key_id"
    path.write_text(f"2025: {OLD}")
    assert line(capsys, "keyring", "new", str(path), "--id", "next")["keys"] == ["2025", "next"]


FLOW = """\
version: 1
name: f
sources: {read: {uses: std/generate, with: {rows: 300, columns: {n: sequence, who: text}}}}
steps: {once: {uses: std/dedupe, from: read, with: {key: [n]}}}
sinks: {out: {uses: std/files, from: once, with: {path: out.jsonl, format: jsonl}}}
state:
  uses: state/sqlite
  with: {path: state.db}
  layers: LAYERS
"""
ENCRYPTED = (
    "[{uses: state/zstd}, {uses: state/aes-gcm, with: {keyring: {uses: state/keyring-file, with: {path: keys}}}}]"
)


def test_a_flow_runs_under_layers_and_only_under_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW.replace("LAYERS", ENCRYPTED))
    assert line(capsys, "run", str(flow))["problems"][0]["code"] == "state.keyring"
    assert line(capsys, "keyring", "new", str(tmp_path / "keys"))["id"]
    assert line(capsys, "run", str(flow))["rows"]["written"] == 300
    assert line(capsys, "run", str(flow))["nothing_new"]
    assert line(capsys, "explain", str(flow))["layers"] == ["state/zstd", "state/aes-gcm"]
    main(["plan", str(flow)])
    assert "state/zstd → state/aes-gcm → state/sqlite" in " ".join(capsys.readouterr().out.split())
    assert line(capsys, "state", "inspect", str(flow))["regions"]["read"]["counts"]["once"]["read"] == 300
    flow.write_text(FLOW.replace("LAYERS", "[]"))
    assert line(capsys, "run", str(flow))["problems"][0]["code"] == "state.layers"
    assert line(capsys, "state", "inspect", str(flow))["code"] == "state.layers"
    assert line(capsys, "dlq", "list", str(flow))["code"] == "state.layers"


def test_layers_that_are_none_are_told_with_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = tmp_path / "flow.yaml"
    wrong = {
        "[{uses: state/zst}]": "flow.unknown_component",
        "[{uses: state/zstd, with: {level: 99}}]": "config.bound",
        "[{uses: state/sqlite}]": "flow.unknown_component",
        "zstd": "flow.type",
        "[{with: {}}]": "flow.missing_key",
    }
    for text, code in wrong.items():
        flow.write_text(FLOW.replace("LAYERS", text))
        problem = line(capsys, "validate", str(flow))
        assert problem["code"] == code, problem
        assert problem["pointer"].startswith("/state/layers")
        assert problem["line"] == 9
