"""Parquet folders with manifests: epochs appear whole, files are what their manifests say, partitions come back."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflare import Batch, ConfigError, Context, Failed, Resume, Schema
from dataflare.drive import SinkDriver, driver_for
from dataflare.testing import sink_suite
from dataflare_std.files.sink import Files

DAY = dt.date(2026, 1, 2)
ROWS = {
    "n": [1, 2, 3, 4],
    "shop": ["eu/1", "us", "eu/1", None],
    "day": [DAY, DAY, dt.date(2026, 1, 3), DAY],
    "ok": [True, False, True, None],
}


def opened(
    base: Path, number: int = 0, *, fence: int = 1, life: str = "11111111", resume: Resume = Resume(), **config: Any
) -> SinkDriver:
    ctx = Context(flow="flow", step="out", lane=number, fence=fence, incarnation=life, base=base)
    driver = driver_for(Files(**{"path": "out/", "format": "parquet", **config}), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(resume)
    return driver


def staged(driver: SinkDriver, epoch: int, *batches: Any) -> Any:
    driver.begin(epoch)
    for rows in batches:
        driver.write(Batch.of(rows))
    return json.loads(json.dumps(driver.prepare(epoch, False)))


def manifests(base: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((base / "out" / "_manifest").glob("*.json"))]


def held(driver: SinkDriver) -> list[dict[str, Any]]:
    return sorted((row for batch in driver.readback() for row in batch.to_rows()), key=lambda row: row["n"])


def test_a_manifest_says_what_an_epoch_is_made_of(tmp_path: Path) -> None:
    sink = opened(tmp_path, roll={"rows": 3})
    for epoch in (1, 2):
        sink.commit(epoch, [staged(sink, epoch, ROWS)])
    sink.commit(3, [staged(sink, 3)])
    first, second = manifests(tmp_path)
    assert (first["epoch"], first["rows"], second["epoch"]) == (1, 4, 2)
    assert [file["rows"] for file in first["files"]] == [3, 1]
    assert first["columns"] == {"n": "int64", "shop": "string", "day": "date32[day]", "ok": "bool"}
    for file in first["files"]:
        data = (tmp_path / "out" / file["path"]).read_bytes()
        assert (len(data), "blake2b-128:" + hashlib.blake2b(data, digest_size=16).hexdigest()) == (
            file["bytes"],
            file["digest"],
        )
        assert pq.read_metadata(tmp_path / "out" / file["path"]).num_rows == file["rows"]
    assert len(held(sink)) == 8
    sink.close()


def test_the_lanes_of_an_epoch_share_one_manifest_that_comes_last(tmp_path: Path) -> None:
    lanes = [opened(tmp_path, number) for number in range(2)]
    tokens = [staged(each, 1, {"n": [number]}) for number, each in enumerate(lanes)]
    assert manifests(tmp_path) == []
    lanes[1].commit(1, tokens)
    lanes[0].commit(1, tokens)
    (manifest,) = manifests(tmp_path)
    assert (manifest["rows"], len(manifest["files"])) == (2, 2)
    assert held(lanes[0]) == [{"n": 0}, {"n": 1}]
    for each in lanes:
        each.close()


def test_partitions_are_folders_and_come_back_as_columns(tmp_path: Path) -> None:
    sink = opened(tmp_path, partition_by=["day", "shop"])
    sink.commit(1, [staged(sink, 1, ROWS, {"n": [5], "shop": ["us"], "day": [DAY], "ok": [True]})])
    folders = {str(Path(file["path"]).parent) for file in manifests(tmp_path)[0]["files"]}
    assert folders == {
        "day=2026-01-02/shop=eu%2F1",
        "day=2026-01-02/shop=us",
        "day=2026-01-03/shop=eu%2F1",
        "day=2026-01-02/shop=__HIVE_DEFAULT_PARTITION__",
    }
    wanted = [*pa.table(ROWS).to_pylist(), {"n": 5, "shop": "us", "day": DAY, "ok": True}]
    assert held(sink) == wanted
    text = f"SELECT n, shop, day FROM read_parquet('{tmp_path}/out/**/*.parquet', hive_partitioning = true) ORDER BY n"
    assert duckdb.sql(text).fetchall() == [(row["n"], row["shop"], row["day"]) for row in wanted]
    sink.close()


def test_more_partitions_than_a_token_could_name(tmp_path: Path) -> None:
    sink = opened(tmp_path, partition_by=["n"])
    rows = {"n": list(range(900)), "v": list(range(900))}
    sink.commit(1, [staged(sink, 1, rows)])
    assert held(sink) == pa.table(rows).to_pylist()
    sink.begin(2)
    with pytest.raises(Failed) as caught:
        sink.write(Batch.of({"n": list(range(1001)), "v": [0] * 1001}))
    assert caught.value.code == "files.many_partitions"
    sink.abort(2, [])
    assert [path for path in (tmp_path / "out").rglob(".*") if path.suffix == ".staged"] == []
    sink.close()


def test_replacing_takes_away_what_an_earlier_life_published(tmp_path: Path) -> None:
    old = opened(tmp_path, partition_by=["shop"])
    old.commit(1, [staged(old, 1, ROWS)])
    old.close()
    with pytest.raises(Failed):
        opened(tmp_path, life="22222222", partition_by=["shop"])
    new = opened(tmp_path, life="22222222", partition_by=["shop"], resume=Resume(made={"existing": "replace"}))
    new.commit(1, [staged(new, 1, {"n": [9], "shop": ["us"]})])
    assert held(new) == [{"n": 9, "shop": "us"}]
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == len(manifests(tmp_path)) == 1
    new.close()


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"partition_by": ["nn"]}, "files.unknown_column"),
        ({"partition_by": ["x"]}, "files.partition_type"),
        ({"partition_by": ["n"], "columns": ["n"]}, "files.partition_all"),
        ({"partition_by": ["n"], "path": "out.parquet"}, "files.partition_folder"),
    ],
)
def test_partitions_that_cannot_be_are_refused_at_plan_time(tmp_path: Path, config: dict[str, Any], code: str) -> None:
    driver = driver_for(Files(**{"path": "out/", "format": "parquet", **config}), Context(base=tmp_path))
    assert isinstance(driver, SinkDriver)
    with pytest.raises(ConfigError) as caught:
        driver.plan(Schema({"n": int, "x": float}))
    assert caught.value.code == code


FLOW = """
version: 1
name: lake
sources:
  made: {uses: std/generate, with: {rows: 3000, columns: {n: sequence, shop: "choice(eu, us)"}}}
sinks:
  out: {uses: std/files, from: made, with: {path: out/, format: parquet, partition_by: [shop]}}
state: {uses: state/sqlite, with: {path: state.db}}
checkpoint: {interval: 5ms, rows: 500}
"""


def test_killed_while_publishing_and_run_again_the_manifests_hold_each_row_once(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text(FLOW)
    for crash in ("sink-publish:2", "sink-publish:1", ""):
        environment = {**os.environ, "DATAFLARE_CRASH": crash, "DATAFLARE_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "dataflare_host", "run", str(flow), "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == (-signal.SIGKILL if crash else 0), done.stdout + done.stderr
    files = [tmp_path / "out" / file["path"] for manifest in manifests(tmp_path) for file in manifest["files"]]
    numbers = [n for file in files for n in pq.ParquetFile(file).read().column("n").to_pylist()]
    assert sorted(numbers) == sorted(set(numbers))
    assert len(numbers) == 3000
    assert sorted(files) == sorted((tmp_path / "out").rglob("*.parquet"))


def in_folder(folder: Path) -> dict[str, Any]:
    return {"path": f"{folder}/out/"}


def in_file(name: str) -> Any:
    return lambda folder: {"path": str(folder / name)}


SUITE_ROWS = [{"n": 1, "t": "a", "x": 0.5}, {"n": 2, "t": None, "x": None}, {"n": 3, "t": "", "x": -1.0}]
TestDataset: Any = sink_suite(Files, SUITE_ROWS, in_folder, format="parquet")
TestPartitions: Any = sink_suite(Files, SUITE_ROWS, in_folder, format="parquet", partition_by=["t"])
TestListedLines: Any = sink_suite(Files, SUITE_ROWS, in_folder, format="jsonl", manifest=True)
TestFolder: Any = sink_suite(Files, SUITE_ROWS, in_folder, format="csv")
TestLines: Any = sink_suite(Files, SUITE_ROWS, in_file("out.jsonl"))
TestCsv: Any = sink_suite(Files, SUITE_ROWS, in_file("out.csv"))
