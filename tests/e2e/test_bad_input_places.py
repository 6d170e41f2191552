"""Places that are full, closed, locked, damaged or taken: a clear error, and every row once where it is mended."""

import ctypes
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

S = "sources: {s: {uses: std/files, with: {path: in.jsonl}}}\n"
K = "sinks: {o: {uses: std/files, from: s, with: {path: out.jsonl}}}\n"
NUMBERS = range(5_000)
ENDLESS = """\
version: 1
name: NAME
sources: {s: {uses: std/generate, with: {rate: 200, columns: {n: sequence}}}}
sinks: {o: {uses: std/files, from: s, with: {path: out.jsonl}}}
checkpoint: {interval: 50ms}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with input, which is the current one."""
    monkeypatch.chdir(tmp_path)
    lines = (json.dumps({"n": n, "t": f"{n * 7919:0100}"}) for n in NUMBERS)
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def flow(*parts: str, name: str = "demo") -> str:
    """Writes the flow file of these parts into the current folder."""
    Path("flow.yaml").write_text(f"version: 1\nname: {name}\n" + "".join(parts))
    return "flow.yaml"


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def ended(process: "subprocess.Popen[str]") -> tuple[int, Any, str]:
    """Exit code, answer and stderr of a run."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out.splitlines()[-1]), err


def problem_of(answer: Any) -> Any:
    """What a run that failed says, with what scripts read of it."""
    assert {"flow", "status", "guarantee", "epoch", "rows", "seconds"} <= set(answer)
    assert answer["status"] == "failed"
    problem = answer["problems"][0]
    assert problem["message"]
    assert problem["fix"]
    return problem


# --- full ------------------------------------------------------------------------------------------


def limited(*words: str) -> tuple[int, Any, str]:
    """The command line in a process that may write files of 300 kB: a disk that is full for everybody, root too."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "dataflare_host", *words]
    return ended(subprocess.Popen(command, preexec_fn=limit, **pipes))


SQL = "sinks: {o: {uses: std/sql, from: s, with: {uri: 'sqlite:///t.db', table: t}}}\n"


@pytest.mark.parametrize(
    ("sink", "code"),
    [
        (K, "files.disk_full"),
        (K.replace("out.jsonl", "out/, format: jsonl"), "files.disk_full"),
        (K.replace("out.jsonl", "out.csv"), "files.disk_full"),
        (SQL, "sql.io"),
    ],
    ids=["file", "folder", "csv", "sql"],
)
def test_a_full_disk_fails_the_run_and_nothing_is_lost_or_doubled(
    sink: str, code: str, folder: Path, say: Callable
) -> None:
    path = flow(S, sink)
    exit_code, answer, err = limited("run", path, "--json")
    problem = problem_of(answer)
    assert (exit_code, problem["code"], problem["line"], problem["pointer"]) == (1, code, 4, "/sinks/o")
    assert "flow.yaml:4:9" in err
    again = say("run", path, "--json")
    assert (again.code, again.json["rows"]["written"]) == (0, len(NUMBERS)), again.err
    if sink == SQL:
        with closing(sqlite3.connect("t.db")) as connection:
            assert [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")] == list(NUMBERS)
    elif "csv" in sink:
        assert [int(line.partition(",")[0]) for line in Path("out.csv").read_text().splitlines()[1:]] == list(NUMBERS)
    else:
        files = [folder / "out.jsonl"] if sink == K else sorted((folder / "out").glob("[!.]*"))
        assert sorted(n for file in files for n in numbers(file)) == list(NUMBERS)


def test_dead_letters_that_find_no_room_are_not_lost(folder: Path, say: Callable) -> None:
    Path("in.jsonl").write_text('{"n": 1}\n' + "".join(f'{{"n": {n}, "t": "{n:0100}"\n' for n in NUMBERS))
    path = flow(S, K)
    exit_code, answer, _ = limited("run", path, "--json")
    assert (exit_code, problem_of(answer)["code"].partition(".")[0]) == (1, "state")
    again = say("run", path, "--json")
    assert again.json["rows"] == {"read": 5_001, "written": 1, "rejected": 5_000, "dropped": 0}
    assert numbers(folder / "out.jsonl") == [1]


@pytest.mark.parametrize("words", [("validate", "flow.yaml", "--json"), ("run", "flow.yaml", "--json")])
def test_an_output_that_is_full_is_told(words: tuple[str, ...], folder: Path) -> None:
    flow(S, K)
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "dataflare_host", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "standard output" in done.stderr
    assert "Traceback" not in done.stderr


# --- closed ----------------------------------------------------------------------------------------


def without_rights(*words: str) -> tuple[int, Any, str]:
    """The command line in a process for which rights of files count, though its user may be root."""
    libc = ctypes.CDLL(None, use_errno=True)

    def drop() -> None:
        if os.getuid() == 0:
            for capability in (1, 2):  # to pass over the rights of files, to read any
                libc.prctl(24, capability, 0, 0, 0)  # out of what the next program may have

    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return ended(subprocess.Popen([sys.executable, "-m", "dataflare_host", *words], preexec_fn=drop, **pipes))


@pytest.fixture
def closed(folder: Path) -> Iterator[Path]:
    """A folder that may not be entered and one that may not be written to, with data in both."""
    for name, mode in (("closed", 0), ("fixed", 0o555)):
        (folder / name).mkdir()
        (folder / name / "in.jsonl").write_text('{"n": 1}\n')
        (folder / name).chmod(mode)
    yield folder
    for name in ("closed", "fixed"):
        (folder / name).chmod(0o755)


STATE = "state: {uses: state/sqlite, with: {path: fixed/state.db}}\n"


@pytest.mark.parametrize(
    ("parts", "code", "line"),
    [
        ((S.replace("in.jsonl", "closed/"), K), "files.unreadable", 3),
        ((S.replace("in.jsonl", "'closed/*.jsonl'"), K), "files.unreadable", 3),
        ((S.replace("in.jsonl", "closed/in.jsonl"), K), "files.unreadable", 3),
        ((S, K.replace("out.jsonl", "fixed/out.jsonl")), "files.not_writable", 4),
        ((S, K.replace("out.jsonl", "closed/out.jsonl")), "files.not_writable", 4),
        ((S, K.replace("out.jsonl", "in.jsonl/out.jsonl")), "files.not_writable", 4),
        ((S, SQL.replace("t.db", "fixed/t.db")), "sql.cannot_open", 4),
        ((S, SQL.replace("t.db", "gone/t.db")), "sql.no_folder", 4),
        ((S, K, STATE), "state.unwritable", None),
    ],
)
def test_a_closed_place_is_named(parts: tuple[str, ...], code: str, line: int | None, closed: Path) -> None:
    exit_code, answer, err = without_rights("run", flow(*parts), "--json")
    problem = problem_of(answer)
    assert (exit_code, problem["code"], problem["line"]) == (2 if line == 3 else 1, code, line), err


# --- locked, damaged ---------------------------------------------------------------------------------


def test_a_locked_store_is_told_and_the_rows_come_once_it_is_free(folder: Path, say: Callable) -> None:
    path = flow(S, K, "state: {uses: state/sqlite, with: {path: state.db, wait: 100ms}}\n")
    say("run", path, "--quiet")
    with open("in.jsonl", "a") as file:
        file.write('{"n": 5000}\n')
    with closing(sqlite3.connect("state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = say("run", path, "--json")
        other.execute("ROLLBACK")
    assert (told.code, problem_of(told.json)["code"]) == (1, "state.locked")
    assert say("run", path, "--json").json["rows"]["read"] == 1
    assert numbers(folder / "out.jsonl") == list(range(5_001))


@pytest.mark.parametrize("kind", ["sqlite", "file"])
def test_damaged_state_is_refused_and_nothing_is_written_twice(kind: str, folder: Path, say: Callable) -> None:
    path = flow(S, K, f"state: {{uses: state/{kind}, with: {{path: kept}}}}\n")
    say("run", path, "--quiet")
    for file in [item for item in [folder / "kept", *(folder / "kept").rglob("*")] if item.is_file()]:
        if file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    told = say("run", path, "--json")
    assert (told.code, problem_of(told.json)["code"].partition(".")[0], told.json["rows"]["read"]) == (1, "state", 0)
    assert numbers(folder / "out.jsonl") == list(NUMBERS)


def test_lost_state_beside_a_full_target_is_refused(folder: Path, say: Callable) -> None:
    path = flow(S, K, SQL.replace("sinks: {o", "# {o"))
    say("run", path, "--quiet")
    for file in (folder / ".dataflare").glob("demo.db*"):
        file.unlink()
    assert problem_of(say("run", path, "--json").json)["code"] == "sink.not_empty"
    assert numbers(folder / "out.jsonl") == list(NUMBERS)


@pytest.mark.parametrize("change", ["cut", "gone", "longer"])
def test_a_target_that_somebody_changed_is_refused(change: str, folder: Path, say: Callable) -> None:
    path = flow(S, K)
    say("run", path, "--quiet")
    out = folder / "out.jsonl"
    if change == "gone":
        out.unlink()
    else:
        out.write_bytes(out.read_bytes()[:100] if change == "cut" else out.read_bytes() + b'{"n": -1}\n')
    told = say("run", path, "--json")
    assert (told.code, problem_of(told.json)["code"]) == (1, "sink.target_changed")
    assert say("run", path, "--quiet", "--from-start", "--replace").code == 0
    assert numbers(out) == list(NUMBERS)


# --- taken -------------------------------------------------------------------------------------------


@pytest.fixture
def running(folder: Path, start: Callable) -> "subprocess.Popen[str]":
    """A flow that runs and has committed rows to out.jsonl."""
    flow_file = folder / "first.yaml"
    flow_file.write_text(ENDLESS.replace("NAME", "first"))
    process: subprocess.Popen[str] = start("run", str(flow_file), "--json")
    while process.poll() is None and not (folder / "out.jsonl").exists():
        os.sched_yield()
    return process


def test_a_flow_or_a_target_is_taken_by_one_run_at_a_time(running: Any, folder: Path, say: Callable) -> None:
    again = say("run", "first.yaml", "--json")
    assert (again.code, again.json["errors"][0]["code"]) == (1, "run.already_running")
    assert say("run", "first.yaml", "--json", "--from-start", "--replace").code == 1
    Path("flow.yaml").write_text(ENDLESS.replace("NAME", "second"))
    for words in ((), ("--from-start", "--replace"), ("--from-start", "--append")):
        other = say("run", "flow.yaml", "--json", *words)
        problem = problem_of(other.json)
        assert (other.code, problem["code"], problem["line"]) == (1, "sink.in_use", 4)
        assert "first" in problem["cause"]
    assert say("state", "reset", "first.yaml", "--yes", "--json").code != 0
    running.send_signal(signal.SIGINT)
    exit_code, answer, _ = ended(running)
    assert (exit_code, answer["status"]) == (0, "stopped")
    found = numbers(folder / "out.jsonl")
    assert found == list(range(len(found)))
    assert answer["rows"]["written"] == len(found)


STUCK = """
import threading
from dataflare import Batch, processor

@processor
def stuck(batch: Batch) -> Batch:
    if len(batch) or EARLY:
        print("stuck", flush=True)
        while not threading.Event().wait(0.1):  # a signal that comes just before a wait does not end it
            pass
    return batch
"""


def test_an_interrupt_ends_a_flow_that_is_still_planned(folder: Path, start: Callable) -> None:
    Path("b.py").write_text(STUCK.replace("EARLY", "True"))
    step = "steps: {stuck: {uses: ./b.py/stuck, from: s}}\n"
    process = start("run", flow(S, step, K.replace("from: s", "from: stuck")), "--json")
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(signal.SIGINT)
    exit_code, answer, _ = ended(process)
    assert (exit_code, problem_of(answer)["code"]) == (1, "cli.interrupted")


def test_a_second_interrupt_leaves_a_flow_that_does_not_come_to_rest(
    folder: Path, start: Callable, say: Callable
) -> None:
    Path("b.py").write_text(STUCK.replace("EARLY", "False"))
    step = "steps: {stuck: {uses: ./b.py/stuck, from: s}}\n"
    process = start("run", flow(S, step, K.replace("from: s", "from: stuck")), "--json")
    assert process.stdout.readline() == "stuck\n"
    process.send_signal(signal.SIGINT)
    while say("flow", "status", "flow.yaml", "--json").json["status"] != "stopping":
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    exit_code, answer, _ = ended(process)
    assert (exit_code, problem_of(answer)["code"], answer["rows"]["written"]) == (1, "run.aborted", 0)


# --- files that change while they are followed ---------------------------------------------------------


@pytest.mark.parametrize("change", ["shrinks", "goes", "is another"])
def test_a_followed_file_that_changes_ends_the_flow_with_what_was_read(
    change: str, folder: Path, start: Callable, say: Callable
) -> None:
    path = flow(S.replace("in.jsonl", "in.jsonl, follow: true"), K, "checkpoint: {interval: 50ms}\n")
    process = start("run", path, "--json")
    while process.poll() is None and not (folder / "out.jsonl").exists():
        os.sched_yield()
    if change == "shrinks":
        os.truncate("in.jsonl", 1_000)
    elif change == "goes":
        os.unlink("in.jsonl")
    else:
        Path("other").write_text('{"n": -1}\n')
        os.rename("other", "in.jsonl")
    exit_code, answer, _ = ended(process)
    problem = problem_of(answer)
    assert (exit_code, problem["code"], problem["line"]) == (1, "source.split_changed", 3)
    found = numbers(folder / "out.jsonl")
    assert found == list(range(len(found)))
    assert answer["rows"]["written"] == len(found)
    assert say("run", path, "--json").code in (1, 2)
    assert numbers(folder / "out.jsonl") == found
