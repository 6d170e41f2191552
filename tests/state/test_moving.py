"""A flow moves: exported and imported, copied into another store; it goes on as if nothing had happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataflare.store import Store
from dataflare_host.cli import main

from .conftest import KEY, open_store

PARTS = '''
from dataflare import Batch, processor

@processor
def picky(batch: Batch) -> Batch:
    """Refuses every seventh number."""
    import pyarrow.compute as pc
    sevens = pc.multiply(pc.divide(batch["n"], 7), 7)
    return batch.reject(pc.equal(batch["n"], sevens), "seven", "it is a multiple of seven")
'''
FLOW = """\
version: 1
name: moving
sources: {{read: {{uses: std/files, with: {{path: "in/*.jsonl", format: jsonl}}}}}}
steps:
  pick: {{uses: ./parts.py/picky, from: read}}
  once: {{uses: std/dedupe, from: pick, with: {{key: [n]}}}}
sinks: {{out: {{uses: std/sql, from: once, with: {{uri: "sqlite:///{base}/out.db", table: out}}}}}}
state: {state}
"""
RING = f"{{uses: state/keyring-env, with: {{variables: [{KEY}]}}}}"
SEALED = f"layers: [{{uses: state/zstd}}, {{uses: state/aes-gcm, with: {{keyring: {RING}}}}}]"
STORES = {
    "sqlite": "{uses: state/sqlite, with: {path: STORE.db}}",
    "file": "{uses: state/file, with: {path: STORE}}",
    "sealed-sqlite": f"{{uses: state/sqlite, with: {{path: STORE-sealed.db}}, {SEALED}}}",
    "sealed-file": f"{{uses: state/file, with: {{path: STORE-sealed}}, {SEALED}}}",
}


class Moving:
    """A flow in a folder, its source's limit, its command line."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base = base
        self._capsys = capsys
        self.flow = base / "flow.yaml"
        (base / "parts.py").write_text(PARTS)

    def on(self, state: str) -> Moving:
        self.flow.write_text(FLOW.format(base=self.base, state=state))
        return self

    def line(self, *words: str) -> Any:
        group, name, *rest = words
        code = main([group, name, str(self.flow), *rest, "--json"])
        answer = json.loads(self._capsys.readouterr().out)
        return answer["errors"][0]["code"] if code and "errors" in answer else answer

    def run(self, limit: int) -> Any:
        """Run with numbers up to a limit, each of them twice, in one file more than before."""
        folder = self.base / "in"
        folder.mkdir(exist_ok=True)
        done = sum(len(path.read_text().splitlines()) for path in folder.iterdir())
        rows = [json.dumps({"n": number // 2}) for number in range(done, limit)]
        with (folder / f"{limit:03d}.jsonl").open("a") as file:
            file.write("".join(f"{row}\n" for row in rows))
        main(["run", str(self.flow), "--json"])
        answer = json.loads(self._capsys.readouterr().out.splitlines()[-1])
        assert answer["status"] == "finished" or answer["problems"]
        return answer

    def numbers(self) -> list[int]:
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(self.base / "out.db")) as rows:
            return [row[0] for row in rows.execute("select n from out order by n")]


@pytest.fixture
def moving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Moving:
    return Moving(tmp_path, capsys)


def place(kind: str, name: str) -> str:
    return STORES[kind].replace("STORE", name)


EXPECTED = [number for number in range(50) if number % 7]


@pytest.mark.parametrize("there", STORES)
@pytest.mark.parametrize("here", ["sqlite", "sealed-file"])
def test_an_exported_flow_goes_on_elsewhere(here: str, there: str, moving: Moving) -> None:
    moving.on(place(here, "here")).run(41)
    moving.run(60)
    told = moving.line("state", "export", "--to", str(moving.base / "out"))
    assert told["keys"] > 0
    assert told["letters"] == 2
    moving.on(place(there, "there"))
    assert moving.line("state", "import", "--from", str(moving.base / "out"))["keys"] == told["keys"]
    assert moving.line("state", "verify")["ok"]
    assert moving.line("state", "import", "--from", str(moving.base / "out")) == "state.exists"
    moving.run(100)
    assert moving.numbers() == EXPECTED
    assert sum(group["waiting"] for group in moving.line("dlq", "list")) == 16


@pytest.mark.parametrize("there", STORES)
@pytest.mark.parametrize("here", ["file", "sealed-sqlite"])
def test_a_copied_flow_goes_on_there_and_not_here(here: str, there: str, moving: Moving) -> None:
    moving.on(place(here, "here")).run(51)
    told = moving.line("state", "copy", "--to", place(there, "there"))
    assert told["letters"] == 1
    assert moving.run(100)["problems"][0]["code"] == "state.moved"
    assert moving.line("state", "verify")["ok"]
    assert moving.line("state", "copy", "--to", place(there, "there")) == "state.exists"
    moving.on(place(there, "there")).run(100)
    assert moving.numbers() == EXPECTED


def test_a_flow_goes_to_postgresql_and_back(moving: Moving, postgres: str) -> None:
    there = f"{{uses: state/postgres, with: {{dsn: '{postgres}'}}, {SEALED}}}"
    moving.on(place("sqlite", "here")).run(51)
    told = moving.line("state", "copy", "--to", there)
    assert postgres not in json.dumps(told)
    moving.on(there).run(71)
    assert moving.line("state", "verify")["ok"]
    moving.line("state", "export", "--to", str(moving.base / "out"))
    moving.on(place("file", "third"))
    moving.line("state", "import", "--from", str(moving.base / "out"))
    moving.run(100)
    assert moving.numbers() == EXPECTED


def test_replacing_leaves_no_letter_twice(moving: Moving) -> None:
    moving.on(place("sqlite", "here")).run(51)
    moving.line("dlq", "drop")
    moving.line("state", "export", "--to", str(moving.base / "out"))
    for _ in range(2):
        assert moving.line("state", "import", "--from", str(moving.base / "out"), "--replace")["letters"] == 1
    assert [group["dropped"] for group in moving.line("dlq", "list")] == [8]


def test_a_backup_is_kept_and_the_flow_goes_on_here(moving: Moving) -> None:
    moving.on(place("sqlite", "here")).run(51)
    assert moving.line("state", "copy", "--backup", "--to", place("file", "there"))["backup"]
    moving.run(100)
    assert moving.numbers() == EXPECTED
    assert moving.on(place("file", "there")).run(100)["problems"][0]["code"] == "state.moved"


def test_a_store_is_not_copied_to_itself(moving: Moving) -> None:
    moving.on(place("sqlite", "here")).run(20)
    assert moving.line("state", "copy", "--to", place("sqlite", "here")) == "state.same_store"
    assert moving.line("state", "copy", "--to", place("sqlite", "here"), "--replace") == "state.same_store"
    moving.run(100)
    assert moving.numbers() == EXPECTED


@pytest.mark.parametrize("text", ["{", "[]", "{path: x}", "{uses: state/file, whith: {}}"])
def test_what_names_no_store_is_told(text: str, moving: Moving) -> None:
    moving.on(place("sqlite", "here")).run(20)
    assert moving.line("state", "copy", "--to", text) == "state.store"


def test_an_export_can_be_read_by_other_programs(moving: Moving) -> None:
    moving.on(place("sealed-sqlite", "here")).run(60)
    out = moving.base / "out"
    told = moving.line("state", "export", "--to", str(out))
    assert out.stat().st_mode & 0o777 == 0o700
    assert all((out / name).stat().st_mode & 0o777 == 0o600 for name in told["files"])
    checkpoint = json.loads((out / "regions/read/checkpoint.json").read_text())
    assert checkpoint["counts"]["once"]["read"] == 50
    (state,) = [name for name in told["files"] if "/state/once/" in name]
    with pa.ipc.open_file(out / state) as keys:
        assert set(keys.read_all()["value"].to_pylist()) == {"true"}
    with pa.ipc.open_file(out / "regions/read/letters.arrow") as letters:
        table = letters.read_all()
    with pa.ipc.open_stream(table["rows"][0].as_py()) as rows:
        assert set(rows.read_all()["n"].to_pylist()) == {0, 7, 14, 21, 28}
    assert moving.line("state", "export", "--to", str(out)) == "state.dump_exists"


def test_a_changed_export_is_refused(moving: Moving) -> None:
    moving.on(place("sqlite", "here")).run(60)
    out = moving.base / "out"
    files = moving.line("state", "export", "--to", str(out))["files"]
    moving.on(place("sqlite", "there"))
    for name in files:
        content = (out / name).read_bytes()
        for at in range(0, len(content), max(1, len(content) // 20)):
            (out / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert moving.line("state", "import", "--from", str(out)) == "state.dump"
        (out / name).unlink()
        assert moving.line("state", "import", "--from", str(out)) == "state.dump"
        (out / name).write_bytes(content)
    assert moving.line("state", "import", "--from", str(moving.base)) == "state.dump"
    assert moving.line("state", "inspect")["regions"] == {}


def test_the_state_of_another_flow_is_refused(moving: Moving) -> None:
    moving.on(place("sqlite", "here")).run(20)
    moving.line("state", "export", "--to", str(moving.base / "out"))
    moving.flow.write_text(moving.flow.read_text().replace("name: moving", "name: other"))
    assert moving.line("state", "import", "--from", str(moving.base / "out")) == "state.other_flow"


def test_there_is_nothing_to_move_of_a_flow_that_never_ran(moving: Moving) -> None:
    moving.on(place("sqlite", "here"))
    assert moving.line("state", "export", "--to", str(moving.base / "out")) == "state.nothing_kept"
    assert moving.line("state", "copy", "--to", place("file", "there")) == "state.nothing_kept"
    assert moving.line("state", "verify")["ok"]


def test_a_restored_flow_has_a_newer_token_than_its_sinks_have_seen(moving: Moving) -> None:
    moving.on(place("sqlite", "here"))
    for limit in (20, 40, 60):
        moving.run(limit)
    moving.line("state", "export", "--to", str(moving.base / "out"))
    moving.on(place("file", "there"))
    told = moving.line("state", "import", "--from", str(moving.base / "out"))
    here: Store = open_store("sqlite", moving.base, path="here.db")
    info = here.lease_info("moving", "read")
    assert info
    assert told["tokens"]["read"] > info.token >= 3


def test_verify_names_every_damage(moving: Moving, capsys: pytest.CaptureFixture[str]) -> None:
    moving.on(place("file", "here")).run(60)
    moving.run(80)
    whole = moving.line("state", "verify")
    assert whole["ok"]
    assert whole["letters"] == 2
    assert list(whole["regions"]["read"]["keys"].values()) == [34]
    for path in (moving.base / "here").rglob("0*-0*"):
        content = path.read_bytes()
        if b'"kind":"commit"' in content:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["state", "verify", str(moving.flow)]) == 1
    capsys.readouterr()
    damaged = moving.line("state", "verify")
    assert not damaged["ok"]
    assert damaged["damages"]
    assert all(damage["code"] == "state.corrupt" and damage["place"] for damage in damaged["damages"])
