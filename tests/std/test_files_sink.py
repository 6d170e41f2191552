"""The sink `files`, through its driver: decided rows stand there exactly once, whatever breaks and when."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Context, Schema
from dataflare.batch import Batch
from dataflare.drive import SinkDriver, driver_for
from dataflare.errors import ConfigError, DataflareError, Fenced
from dataflare.json_rows import to_json_rows
from dataflare.split import Resume
from dataflare_std.files import staging
from dataflare_std.files.sink import Files
from dataflare_std.files.staging import Staged
from dataflare_std.files.text_out import json_lines

TARGETS = {
    "jsonl": {"path": "out.jsonl"},
    "csv": {"path": "out.csv"},
    "parquet": {"path": "out.parquet"},
    "folder": {"path": "out/", "format": "jsonl"},
    "parquet folder": {"path": "out/", "format": "parquet"},
}
SCHEMA = Schema({"n": int, "t": str})
every_target = pytest.mark.parametrize("target", TARGETS)


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"n": number, "t": f"text {number}"} for number in numbers]


def opened(base: Path, target: str, resume: Resume | None = None, **ctx: Any) -> SinkDriver:
    place = {"flow": "flow", "step": "out", "incarnation": "11111111-2222", "fence": 1, **ctx}
    driver = driver_for(Files(**TARGETS[target]), Context(base=base, **place))
    assert isinstance(driver, SinkDriver)
    driver.plan(SCHEMA)
    driver.open(resume or Resume())
    return driver


def staged(driver: SinkDriver, epoch: int, numbers: list[int], last: bool = False) -> Any:
    driver.begin(epoch)
    if numbers:
        driver.write(Batch.of(rows(*numbers)))
    return json.loads(json.dumps(driver.prepare(epoch, last)))


def written(driver: SinkDriver, epoch: int, numbers: list[int], last: bool = False) -> Any:
    token = staged(driver, epoch, numbers, last)
    driver.commit(epoch, [token])
    return token


def held(driver: SinkDriver) -> list[int]:
    return [row["n"] for batch in driver.readback() for row in batch.to_rows()]


def visible(base: Path) -> list[str]:
    return sorted(path.name for path in base.rglob("*") if path.is_file() and not path.name.startswith("."))


@every_target
def test_rows_appear_with_their_epoch_and_not_before(tmp_path: Path, target: str) -> None:
    driver = opened(tmp_path, target)
    token = staged(driver, 1, [1, 2])
    assert visible(tmp_path) == []
    driver.commit(1, [token])
    driver.commit(1, [token])
    written(driver, 2, [])
    token = staged(driver, 3, [3], last=True)
    assert 3 not in held(driver)
    driver.commit(3, [token])
    driver.commit(3, [token])
    assert sorted(held(driver)) == [1, 2, 3]
    driver.close()
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


@every_target
def test_an_aborted_epoch_leaves_nothing(tmp_path: Path, target: str) -> None:
    driver = opened(tmp_path, target)
    driver.begin(1)
    driver.write(Batch.of(rows(7)))
    driver.abort(1, [])
    token = staged(driver, 1, [8])
    driver.abort(1, [token])
    written(driver, 1, [1], last=True)
    assert held(driver) == [1]
    driver.close()
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


@every_target
def test_a_later_run_goes_on_where_the_last_one_ended(tmp_path: Path, target: str) -> None:
    driver = opened(tmp_path, target)
    token = written(driver, 1, [1], last=True)
    driver.close()
    driver = opened(tmp_path, target, Resume(1, {"0": token}), fence=2)
    token = written(driver, 2, [])
    token = written(driver, 3, [2], last=True)
    driver.close()
    driver = opened(tmp_path, target, Resume(3, {"0": token}), fence=3)
    assert sorted(held(driver)) == [1, 2]
    driver.close()


@every_target
def test_rows_of_another_life_are_kept_unless_the_operator_says_so(tmp_path: Path, target: str) -> None:
    driver = opened(tmp_path, target)
    written(driver, 1, [1], last=True)
    driver.close()
    with pytest.raises(DataflareError) as error:
        opened(tmp_path, target, incarnation="33333333-4444")
    assert error.value.code == "sink.not_empty"
    driver = opened(tmp_path, target, Resume(made={"existing": "append"}), incarnation="33333333-4444")
    written(driver, 1, [2], last=True)
    assert sorted(held(driver)) == [1, 2]
    driver.close()
    driver = opened(tmp_path, target, Resume(made={"existing": "replace"}), incarnation="55555555-6666")
    token = staged(driver, 1, [3], last=True)
    assert sorted(held(driver)) == [1, 2]
    driver.commit(1, [token])
    driver.commit(1, [token])
    assert held(driver) == [3]
    driver.close()


@every_target
def test_a_second_flow_is_refused_and_a_newer_run_displaces_the_old_one(tmp_path: Path, target: str) -> None:
    old = opened(tmp_path, target, fence=3)
    token = staged(old, 1, [1], last=True)
    with pytest.raises(DataflareError) as error:
        opened(tmp_path, target, flow="other", fence=9)
    assert error.value.code == "sink.in_use"
    with pytest.raises(DataflareError) as error:
        opened(tmp_path, target, fence=2)
    assert error.value.code == "sink.in_use"
    new = opened(tmp_path, target, fence=4)
    with pytest.raises(Fenced):
        old.commit(1, [token])
    written(new, 1, [5], last=True)
    old.close()
    assert held(new) == [5]
    new.close()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes() + b'{"n":9}\n')])
def test_a_file_that_somebody_changed_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    driver = opened(tmp_path, "jsonl")
    token = written(driver, 1, [1])
    driver.close()
    damage(tmp_path / "out.jsonl")
    with pytest.raises(DataflareError) as error:
        opened(tmp_path, "jsonl", Resume(1, {"0": token}), fence=2)
    assert error.value.code == "sink.target_changed"


@pytest.mark.parametrize(("target", "content"), [("jsonl", b""), ("csv", b"n,t\n")])
def test_a_flow_without_rows_leaves_an_empty_file(tmp_path: Path, target: str, content: bytes) -> None:
    driver = opened(tmp_path, target)
    written(driver, 1, [], last=True)
    driver.close()
    assert (tmp_path / TARGETS[target]["path"]).read_bytes() == content


# --- crashes --------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process dies here."""


class Dying:
    """Lets the n-th change to the file system be the last; an append is cut off in the middle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        for owner, name in ((os, "link"), (os, "fsync"), (os, "copy_file_range"), (Path, "replace"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name), name))

    def _wrapped(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if name == "copy_file_range":
                    source, sink, count, at, to = args
                    real(source, sink, count // 2, at, to)
                raise Crash
            if self.left < 0:
                raise Crash
            return real(*args, **more)

        return call


def disturbed_run(base: Path, target: str, epochs: list[list[int]], crashes: list[int]) -> SinkDriver:
    """What an engine does, dying as asked; gives the last driver."""
    tokens: dict[str, Any] = {}
    decided, unsettled, fence = 0, False, 0
    while True:
        fence += 1
        after = crashes.pop(0) if crashes else 0
        with pytest.MonkeyPatch.context() as patch:
            try:
                if after:
                    Dying(patch, after)
                driver = opened(base, target, Resume(decided, tokens), fence=fence)
                if unsettled:
                    driver.commit(decided, list(tokens.values()))
                    unsettled = False
                while decided < len(epochs):
                    token = staged(driver, decided + 1, epochs[decided], last=decided + 1 == len(epochs))
                    decided, tokens, unsettled = decided + 1, {"0": token}, True
                    driver.commit(decided, [token])
                    unsettled = False
                return driver
            except Crash:
                continue


@settings(max_examples=150, deadline=None)
@given(
    target=st.sampled_from(sorted(TARGETS)),
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    crashes=st.lists(st.integers(1, 25), max_size=4),
)
def test_after_any_crashes_the_target_holds_the_rows_of_an_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, target: str, sizes: list[int], crashes: list[int]
) -> None:
    base = tmp_path_factory.mktemp("crash")
    numbers = iter(range(1000))
    epochs = [[next(numbers) for _ in range(size)] for size in sizes]
    driver = disturbed_run(base, target, epochs, crashes)
    assert sorted(held(driver)) == list(range(sum(sizes)))
    driver.close()
    left = [path.name for path in base.rglob(".*") if path.is_file()]
    assert [name for name in left if not name.endswith(".lock") and ".lock." not in name] == []


# --- what is written ---------------------------------------------------------------------------------


def test_json_lines_take_the_forms_of_the_vectors(tmp_path: Path) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "json_rows.json").read_text())
    assert vectors
    array = pa.array([1.5, float("nan"), float("-inf"), None] * 60)
    times = pa.array([1_500_000, 0, None, 1] * 60, pa.timestamp("us", "Europe/Paris"))
    batch = pa.RecordBatch.from_pydict(
        {
            "t": times, "s": pa.array(['a"\n', "é", None, ""] * 60), "b": pa.array([b"\xff\x00", None, b"", b"a"] * 60),
            "l": pa.array([[1, None], [], None, [3]] * 60), "d": times.cast(pa.timestamp("us")).cast(pa.date32()),
            "o": pa.StructArray.from_arrays([times, array], names=["t", "f"]),
        }
    )  # fmt: skip
    for name, part in (
        ("all.jsonl", batch),
        ("few.jsonl", batch.slice(3, 6)),
        ("finite.jsonl", batch.drop_columns(["o"])),
    ):
        driver = driver_for(Files(path=name), Context(base=tmp_path, flow="f", step="s", incarnation="1" * 8))
        assert isinstance(driver, SinkDriver)
        driver.open(Resume())
        driver.begin(1)
        driver.write(Batch(part))
        driver.commit(1, [driver.prepare(1, True)])
        driver.close()
        found = [json.loads(line) for line in (tmp_path / name).read_text().split("\n") if line]
        assert found == to_json_rows(part)


def test_rows_without_columns_are_empty_objects(tmp_path: Path) -> None:
    assert json_lines(pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))) == b"{}\n{}\n"


def test_large_whole_numbers_are_numbers_in_a_file(tmp_path: Path) -> None:
    driver = opened(tmp_path, "jsonl")
    driver.begin(1)
    driver.write(Batch.of({"n": [2**63 - 1]}))
    driver.commit(1, [driver.prepare(1, True)])
    driver.close()
    assert (tmp_path / "out.jsonl").read_text() == '{"n":9223372036854775807}\n'


def test_a_folder_file_is_followed_by_the_next_when_full(tmp_path: Path) -> None:
    ctx = Context(base=tmp_path, flow="f", step="s", incarnation="1" * 8)
    driver = driver_for(Files(path="out/", format="csv", roll={"rows": 4}), ctx)
    assert isinstance(driver, SinkDriver)
    driver.open(Resume())
    token = written(driver, 1, list(range(10)))
    assert sorted(held(driver)) == list(range(10))
    driver.close()
    assert len(visible(tmp_path)) == len(token["files"]) == 3
    assert all((tmp_path / "out" / name).read_text().startswith("n,t\n") for name in visible(tmp_path))


def test_only_the_configured_columns_are_written(tmp_path: Path) -> None:
    component = Files(path="out.csv", columns=["t"])
    assert component.needs(SCHEMA) == frozenset({"t"})
    driver = driver_for(component, Context(base=tmp_path))
    assert isinstance(driver, SinkDriver)
    driver.plan(SCHEMA)
    driver.open(Resume())
    written(driver, 1, [1])
    driver.close()
    assert (tmp_path / "out.csv").read_text() == "t\ntext 1\n"


def test_plan_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    driver = driver_for(Files(path="out.csv", columns=["l", "x"]), Context(base=tmp_path))
    assert isinstance(driver, SinkDriver)
    with pytest.raises(ConfigError) as error:
        driver.plan(Schema({"l": pa.list_(pa.int64())}))
    assert [problem.code for problem in error.value.problems] == ["files.unknown_column", "files.type_unsupported"]


def test_check_names_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    problems = driver_for(Files(path="file/out.jsonl"), Context(base=tmp_path)).check()
    assert [problem.code for problem in problems] == ["files.not_writable"]
    assert not driver_for(Files(path="new/folder/out.jsonl"), Context(base=tmp_path)).check()


@pytest.mark.parametrize("path", ["file/out.jsonl", "file/out/", "file/out.parquet"])
def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    driver = driver_for(Files(path=path, format="parquet" if "parquet" in path else "jsonl"), Context(base=tmp_path))
    with pytest.raises(DataflareError) as error:
        driver.open(Resume())
    assert error.value.code == "files.not_writable"
    driver.close()


def test_a_full_disk_is_said_so_and_the_epoch_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = opened(tmp_path, "jsonl")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    driver.begin(1)
    driver.write(Batch.of(rows(1)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataflareError) as error:
            driver.prepare(1, False)
    assert error.value.code == "files.disk_full"
    driver.abort(1, [])
    driver.close()
    driver = opened(tmp_path, "jsonl", fence=2)
    written(driver, 1, [1])
    assert held(driver) == [1]
    driver.close()


def test_what_a_sync_beside_the_writing_found_is_told_when_the_epoch_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(number: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    driver = opened(tmp_path, "jsonl")
    driver.begin(1)
    with monkeypatch.context() as patch:
        patch.setattr(staging, "SYNC_BYTES", 1)
        patch.setattr(os, "fdatasync", broken)
        driver.write(Batch.of(rows(1)))
        with pytest.raises(DataflareError) as error:
            driver.prepare(1, False)
    assert error.value.code == "files.not_writable"
    driver.abort(1, [])
    assert not visible(tmp_path)
    driver.close()


@pytest.mark.parametrize("count", [1, 1000])
def test_a_device_that_is_full_refuses_rows(tmp_path: Path, count: int) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    stage = Staged(tmp_path / "x", "jsonl")
    stage._file.close()
    with (tmp_path / "full").open("wb", buffering=0) as stage._file, pytest.raises(DataflareError) as error:
        stage.write(Batch.of(rows(*range(count))).arrow)
    stage.drop()
    assert error.value.code == "files.disk_full"
