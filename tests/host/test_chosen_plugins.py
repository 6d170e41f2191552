"""`--plugins SET.toml`: a host that has what a set names, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataflare_host.cli import main

SETS = Path(__file__).resolve().parents[2] / "sets"
FLOW = """\
version: 1
name: few
sources: {in: {uses: std/files, with: {path: in.jsonl}}}
sinks: {out: {uses: std/files, from: in, with: {path: out.jsonl}}}
"""


@pytest.mark.parametrize("name", ["standalone", "edge", "cloud"])
def test_a_set_runs_flows(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "flow.yaml").write_text(FLOW)
    code = main(["--plugins", str(SETS / f"{name}.toml"), "run", str(tmp_path / "flow.yaml"), "--json"])
    assert (code, json.loads(capsys.readouterr().out.splitlines()[-1])["status"]) == (0, "finished")


def test_what_a_set_does_not_name_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = tmp_path / "set.toml"
    chosen.write_text('[plugins]\ncommands = ">=1"\nstd = {version = ">=1,<2"}\n')
    assert main(["--plugins", str(chosen), "plugin", "list", "--json"]) == 0
    text = capsys.readouterr().out.splitlines()[-1]
    assert "plugin.not_in_set" in text
    assert main(["--plugins", str(chosen), "keyring", "--help"]) == 2
    assert main(["keyring", "--help"]) == 0


def test_a_set_that_cannot_be_had_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = tmp_path / "set.toml"
    for text, code in (
        ("[plugins]\nnothing-like-it = ''", "set.missing"),
        ("[plugins]\nstd = '>=7'", "set.version"),
        ("[plug", "set.syntax"),
    ):
        chosen.write_text(text)
        assert main(["--plugins", str(chosen), "plugin", "list", "--json"]) == 2
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["errors"][0]["code"] == code
