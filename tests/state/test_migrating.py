"""State of older versions and keys in today's form, by command and by run; a kept older epoch taken by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflare.checkpoint import Changes
from dataflare_host.cli import main

from .conftest import change, checkpoint, held, letter, open_store
from .test_layers import encrypting, key, opened, ring

PARTS = '''
from dataflare import Batch, Processor, Source, Split, State
from dataflare.state import state

VERSION = {version}

class Reader(Source, name="reader", version=VERSION):
    """Numbers in splits; positions are a number, or an object from version 2 on."""

    until: int = 1

    def splits(self):
        return [Split(f"s{{n}}") for n in range(self.until)]

    def read(self, split, position=None):
        at = position if VERSION == 1 else (position or {{}}).get("at")
        for n in range(at or 0, 50):
            yield {{"key": [f"{{split.id}}-{{n}}"], "n": [n]}}, n + 1 if VERSION == 1 else {{"at": n + 1}}

    def migrate_position(self, version, old):
        if {broken}:
            old.clear() if isinstance(old, dict) else None
            raise RuntimeError("no way")
        return {{"at": old}} if version == 1 else old

class Sum(Processor, by="key", name="sum", version=VERSION):
    """A value for each key: a number, an object, a list."""

    key: str = "key"
    total: State[dict] = state()

    def plan(self, schema):
        return {{"key": str, "sum": int}}

    def process(self, batch):
        rows, held = batch.to_rows(), self.total.get(batch)
        read = {{1: lambda v: v, 2: lambda v: v["s"], 3: lambda v: v[0]}}[VERSION]
        write = {{1: lambda n: n, 2: lambda n: {{"s": n}}, 3: lambda n: [n]}}[VERSION]
        made = [(read(old) if old is not None else 0) + row["n"] for row, old in zip(rows, held)]
        self.total.put(batch, [write(n) for n in made])
        return [{{"key": row["key"], "sum": n}} for row, n in zip(rows, made)]

    def migrate_state(self, version, name, value):
        if {broken} and value == {{"s": 49}}:
            raise RuntimeError("no way")
        n = value if version == 1 else value["s"]
        return {{"s": n}} if VERSION == 2 else [n]
'''
FLOW = """\
version: 1
name: t
sources: {{reader: {{uses: ./parts.py/reader, with: {{until: {until}}}}}}}
steps: {{sum: {{uses: ./parts.py/sum, from: reader}}}}
sinks: {{out: {{uses: std/files, from: sum, with: {{path: out.jsonl, format: jsonl}}}}}}
state: {{uses: state/{store}, with: {{path: store}}}}
"""


class Versions:
    """A flow whose components come in versions."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self._capsys = base, capsys

    def at(self, version: int, *, until: int = 1, broken: bool = False, store: str = "sqlite") -> Versions:
        (self.base / "parts.py").write_text(PARTS.format(version=version, broken=broken))
        (self.base / "flow.yaml").write_text(FLOW.format(until=until, store=store))
        return self

    def line(self, *words: str, crash: str = "", code: int = 0) -> Any:
        """In a process of its own, since each version is another module."""
        command = [sys.executable, "-m", "dataflare_host", *words, "flow.yaml", "--json"]
        environment = {**os.environ, "DATAFLARE_CRASH": crash}
        done = subprocess.run(command, cwd=self.base, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None

    def kept(self) -> Any:
        return self.line("state", "inspect")["regions"]["reader"]

    def rows(self) -> set[str]:
        return {json.loads(row)["key"] for row in (self.base / "out.jsonl").read_text().splitlines()}

    def content(self) -> dict[str, bytes]:
        """What the store holds, byte for byte, but the lease."""
        store = open_store("file", self.base, path="store")
        state = {key.decode(): value for key, value, _ in store.state("t", "reader", "sum", "total")}
        loaded = json.dumps(store.load("t", "reader").as_json()).encode()  # type: ignore[union-attr]
        return {**state, "checkpoint": loaded}


@pytest.fixture
def versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Versions:
    return Versions(tmp_path, capsys)


def test_migrate_takes_a_finished_flow_over_without_running_it(versions: Versions) -> None:
    versions.at(1).line("run")
    before = versions.kept()
    told = versions.at(2).line("state", "migrate")
    assert told == {"flow": "t", "migrated": {"reader": [1, 2], "sum": [1, 2]}, "rewritten": []}
    kept = versions.kept()
    assert kept["epoch"] == before["epoch"] + 1
    assert kept["finished"]
    assert [split["position"] for split in kept["splits"]["reader"]] == [{"at": 50}]
    assert versions.line("state", "migrate")["migrated"] == {}
    assert versions.line("run")["nothing_new"]


def test_versions_in_a_row_and_at_once(versions: Versions) -> None:
    versions.at(1).line("run")
    versions.at(2, until=2).line("run")
    versions.at(3, until=3).line("run")
    assert len(versions.rows()) == 150
    store = open_store("sqlite", versions.base, path="store")
    assert set(map(str, held(store, flow="t", region="reader", step="sum", name="total").values())) == {
        f"[{n}]" for n in range(50)
    }


def test_a_migration_that_fails_leaves_the_old_as_it_was(versions: Versions) -> None:
    versions.at(2, store="file").line("run")
    before = versions.content()
    broken = versions.at(3, until=2, broken=True, store="file")
    assert broken.line("run", code=1)["problems"][0]["code"] == "state.migration"
    assert broken.line("state", "migrate", code=1)["errors"][0]["code"] == "state.migration"
    assert versions.content() == before
    assert versions.at(2, until=2, store="file").line("run")["rows"]["written"] == 50


@pytest.mark.parametrize("crash", ["migrate", "commit-point", "decided", "settle"])
def test_killed_inside_a_migration_the_next_run_does_it(crash: str, versions: Versions) -> None:
    versions.at(1, store="file").line("run")
    before = versions.content()
    versions.at(2, until=2, store="file").line("run", crash=crash, code=-signal.SIGKILL)
    if crash in ("migrate", "commit-point"):
        assert versions.content() == before
    versions.line("run")
    assert len(versions.rows()) == 100
    assert len((versions.base / "out.jsonl").read_text().splitlines()) == 100


# --- keys ---------------------------------------------------------------------------------------------------


def test_rewriting_needs_only_the_newest_key_afterwards(tmp_path: Path) -> None:
    old, new, path = f"old: {key()}", f"new: {key()}", tmp_path / "ring"
    layers = [encrypting(path)]
    ring(path, old)
    store = opened(tmp_path, layers)
    store.lease("f", "r", "o", 0)
    for epoch in range(1, 20):
        lost = [letter(), letter("odd", status="dropped")] if epoch == 3 else []
        store.commit(checkpoint(epoch), Changes([change(f"k{epoch}", "1"), change("k", str(epoch))], lost), 1)
        store.settle("f", "r", epoch, 1)
    before = held(store)
    store.close()
    ring(path, old, new)
    store = opened(tmp_path, layers)
    assert store.rewrite("f", "r", 1)
    store.close()
    ring(path, new)
    store = opened(tmp_path, layers)
    assert held(store) == before
    assert [found.status for found in store.letters("f", status=None)] == ["waiting", "dropped"]
    assert [info.epoch for info in store.history("f", "r")] == [20]
    store.commit(checkpoint(21), Changes([change("k", "21")]), 1)
    assert held(store) == {**before, "k": "21"}


@pytest.mark.parametrize("kind", ["memory", "file", "sqlite"])
def test_a_plain_store_has_one_form(kind: str, tmp_path: Path) -> None:
    store = open_store(kind, tmp_path)
    store.lease("f", "r", "o", 0)
    store.commit(checkpoint(1), Changes(), 1)
    assert not store.rewrite("f", "r", 1)


# --- an older epoch -----------------------------------------------------------------------------------------


HELD = """\
version: 1
name: f
sources: {read: {uses: std/generate, with: {rows: 3}}}
sinks: {out: {uses: std/count, from: read}}
state: {uses: state/STORE, LAYERS}
"""


class Back:
    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
        sealed, _, store = kind.rpartition("-")
        layers = json.dumps([{"uses": "state/zstd"}]) if sealed else "[]"
        self.flow, self._capsys = base / "flow.yaml", capsys
        self.flow.write_text(HELD.replace("STORE", store).replace("LAYERS", f"layers: {layers}"))
        self.store = opened(base, json.loads(layers), store)

    def filled(self, **more: Any) -> Back:
        self.store.lease("f", "r", "o", 0)
        for epoch in range(1, 5):
            keys = [change("k", str(epoch)), change(f"k{epoch}", "1")] if more.get("keyed") else []
            lost = [letter()] if epoch == 2 else []
            self.store.commit(checkpoint(epoch, **more), Changes(keys, lost), 1)
            self.store.settle("f", "r", epoch, 1)
        self.store.release("f", "r", 1)
        return self

    def to(self, epoch: int, *more: str) -> Any:
        main(["state", "reset", str(self.flow), "--to-epoch", str(epoch), *more, "--json"])
        answer = json.loads(self._capsys.readouterr().out)
        return answer["errors"][0]["code"] if "errors" in answer else answer


@pytest.mark.parametrize("kind", ["file", "sqlite", "sealed-file", "sealed-sqlite"])
def test_an_older_epoch_is_taken_and_noted(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = Back(tmp_path, capsys, kind).filled()
    assert back.to(2)["epoch"] == 5
    loaded = back.store.load("f", "r")
    assert loaded
    assert loaded.splits == checkpoint(2).splits
    assert loaded.guarantee == ["taken back to 2 at 5"]
    assert loaded.settled
    assert len(list(back.store.letters("f"))) == 1
    assert back.to(99) == "state.unknown_epoch"


def test_each_region_counts_its_own_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = Back(tmp_path, capsys, "sqlite").filled()
    back.store.lease("f", "q", "o", 0)
    back.store.commit(checkpoint(2, region="q"), Changes(), 1)
    back.store.release("f", "q", 1)
    assert back.to(2) == "state.unknown_epoch"
    assert back.to(1, "--region", "q") == "state.unknown_epoch"
    assert back.to(2, "--region", "r")["epoch"] == 5
    assert back.store.load("f", "q") == checkpoint(2, region="q")


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_keys_do_not_go_back_in_a_plain_store(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = Back(tmp_path, capsys, kind).filled(keyed={"s": ["k"]})
    assert back.to(2) == "state.keys_not_kept"
    assert held(back.store)["k"] == "4"
    assert back.to(4)["epoch"] == 5
    assert held(back.store)["k"] == "4"


@pytest.mark.parametrize("kind", ["sealed-file", "sealed-sqlite"])
def test_keys_go_back_under_layers(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = Back(tmp_path, capsys, kind).filled(keyed={"s": ["k"]})
    assert back.to(2)["epoch"] == 5
    assert held(back.store) == {"k": "2", "k1": "1", "k2": "1"}


def test_a_damaged_last_epoch_is_passed_and_what_is_put_there_lies_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back = Back(tmp_path, capsys, "file").filled()
    records = sorted((tmp_path / ".dataflare/state").rglob("0000000001-*"))
    commits = [path for path in records if b'"kind":"commit"' in path.read_bytes()]
    commits[-1].write_bytes(commits[-1].read_bytes()[:-3])
    told = back.to(3)
    assert told["epoch"] == 5
    loaded = back.store.load("f", "r")
    assert loaded
    assert loaded.splits == checkpoint(3).splits
