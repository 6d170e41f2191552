"""Every example runs as its README says and gives the rows in its ``expected/`` folder."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Run = Callable[..., Any]
BY_CARRIER = """
    select carrier, count(*) as flights, sum(arr_delay) as delay, sum(distance) as miles, sum(made_up) as made_up
    from flights group by carrier order by carrier
"""


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], Path]:
    """A fresh copy of an example."""

    def copy(name: str) -> Path:
        made = tmp_path / name
        shutil.copytree(EXAMPLES / name, made, ignore=shutil.ignore_patterns("out", ".dataflare", "*.db", "*.duckdb*"))
        return made

    return copy


@pytest.fixture
def dataflare() -> Run:
    """Runs the command line in a folder; the last line of its JSON."""

    def run(folder: Path, *words: str, path: Path | None = None) -> Any:
        variables = {**os.environ, "DATAFLARE_CACHE": str(folder / ".cache")}
        if path is not None:
            variables["PYTHONPATH"] = str(path)
        command = [sys.executable, "-m", "dataflare_host", *words, "--json"]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def rows_in(*files: Path) -> list[Any]:
    """The rows of files of JSON lines."""
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def in_order(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def test_every_example_is_tested() -> None:
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert {flow.parent.name for flow in EXAMPLES.glob("*/flow.yaml")} <= tested


def test_quickstart(example: Any, dataflare: Run) -> None:
    folder = example("quickstart")
    told = dataflare(folder, "run", "flow.yaml")
    assert (told["status"], told["guarantee"]) == ("finished", "exactly_once")
    assert told["rows"] == {"read": 6099, "written": 6364, "rejected": 56, "dropped": 0}
    assert in_order(rows_in(folder / "out" / "late.jsonl")) == in_order(rows_in(folder / "expected" / "late.jsonl"))
    with sqlite3.connect(folder / "out" / "flights.db") as connection:
        connection.row_factory = sqlite3.Row
        carriers = [dict(row) for row in connection.execute(BY_CARRIER)]
    assert carriers == json.loads((folder / "expected" / "carriers.json").read_text("utf-8"))
    assert dataflare(folder, "run", "flow.yaml")["nothing_new"]


def test_python_source(example: Any, dataflare: Run) -> None:
    folder = example("python-source")
    told = dataflare(folder, "run", "flow.yaml")
    assert (told["status"], told["guarantee"]) == ("finished", "exactly_once")
    assert told["rows"] == {"read": 100, "written": 98, "rejected": 2, "dropped": 0}
    written = rows_in(*(folder / "out" / "ledger").glob("*.jsonl"))
    assert in_order(written) == in_order(rows_in(folder / "expected" / "ledger.jsonl"))
    assert dataflare(folder, "run", "flow.yaml")["nothing_new"]


def test_dedupe_validate(example: Any, dataflare: Run) -> None:
    folder = example("dedupe-validate")
    assert dataflare(folder, "run", "flow.yaml")["status"] == "finished"
    assert in_order(rows_in(folder / "out" / "clean.jsonl")) == in_order(rows_in(folder / "expected" / "clean.jsonl"))
    letters = [
        {key: each[key] for key in ("step", "code", "waiting")}
        for each in dataflare(folder, "dlq", "list", "flow.yaml")
    ]
    assert in_order(letters) == in_order(json.loads((folder / "expected" / "letters.json").read_text("utf-8")))
    flow = folder / "flow.yaml"
    flow.write_text(flow.read_text("utf-8").replace("temperature < 60", "temperature < 80"), "utf-8")
    dataflare(folder, "dlq", "replay", "flow.yaml", "--code", "too_hot")
    after = rows_in(folder / "expected" / "after-replay.jsonl")
    assert in_order(rows_in(folder / "out" / "clean.jsonl")) == in_order(after)


def test_lake(example: Any, dataflare: Run) -> None:
    folder = example("lake")
    told = dataflare(folder, "run", "flow.yaml")
    assert (told["status"], told["guarantee"]) == ("finished", "exactly_once")
    stock = "select shop, item, pieces from stock order by all"
    with duckdb.connect(folder / "stock.duckdb") as connection:
        names = ("shop", "item", "pieces")
        held = [dict(zip(names, row, strict=True)) for row in connection.execute(stock).fetchall()]
    assert held == json.loads((folder / "expected" / "stock.json").read_text("utf-8"))
    history = folder / "out" / "history"
    files = [
        history / file["path"]
        for manifest in (history / "_manifest").glob("*.json")
        for file in json.loads(manifest.read_text("utf-8"))["files"]
    ]
    assert sorted(files) == sorted(history.rglob("*.parquet"))
    wanted = rows_in(folder / "expected" / "history.jsonl")
    text = "select shop, item, pieces from read_parquet($files, hive_partitioning = true)"
    found = duckdb.sql(text, params={"files": [str(file) for file in files]}).fetchall()
    assert in_order([dict(zip(names, row, strict=True)) for row in found]) == in_order(wanted)
    assert dataflare(folder, "run", "flow.yaml")["nothing_new"]


def test_third_party_bundle(example: Any, dataflare: Run, tmp_path: Path) -> None:
    folder, wheels, installed = example("third-party-bundle"), tmp_path / "wheels", tmp_path / "installed"
    wheels.mkdir()
    build = "import sys; from flit_core import buildapi; buildapi.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=folder, check=True, timeout=120)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([*pip, *map(str, wheels.iterdir())], check=True, timeout=120, env=quiet)
    shutil.rmtree(folder / "acme_geo")

    told = dataflare(folder, "run", "flow.yaml", path=installed)
    assert (told["status"], told["rows"]["written"], told["rows"]["rejected"]) == ("finished", 6, 1)
    with sqlite3.connect(folder / "ships.db") as connection:
        connection.row_factory = sqlite3.Row
        tracks = [dict(row) for row in connection.execute("select * from tracks")]
    assert in_order(tracks) == in_order(json.loads((folder / "expected" / "tracks.json").read_text("utf-8")))
    points = ("from_=[52.52, 13.405]", "to=[48.857, 2.352]")
    assert dataflare(folder, "tool", "call", "acme-geo/distance", *points, path=installed) == 877.452

    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        tests, cwd=folder, env={**quiet, "PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_windows(example: Any, dataflare: Run) -> None:
    folder, _ = example("windows"), example("quickstart")
    told = dataflare(folder, "run", "flow.yaml")
    assert (told["status"], told["guarantee"], told["rows"]["rejected"]) == ("finished", "exactly_once", 0)
    for name in ("airlines.jsonl", "airports.jsonl", "planes.jsonl"):
        assert in_order(rows_in(folder / "out" / name)) == in_order(rows_in(folder / "expected" / name))
    assert dataflare(folder, "run", "flow.yaml")["nothing_new"]
