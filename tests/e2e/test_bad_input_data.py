"""Data that is wrong in every way: a reject with its code and place, or a clear error; no row is lost or doubled."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLOW = """\
version: 1
name: demo
sources: {s: {uses: std/files, with: {path: IN}}}
sinks: {o: {uses: std/files, from: s, with: {path: out.jsonl}}}
"""


@pytest.fixture
def read(tmp_path: Path, say: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a flow over a file of these bytes; its answer, and the rows that were written."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, content: bytes | None, flow: str = FLOW) -> tuple[Any, list[Any]]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        (tmp_path / "flow.yaml").write_text(flow.replace("IN", name))
        told = say("run", "flow.yaml", "--json")
        assert "Traceback" not in told.err
        assert told.code == {"finished": 0, "failed": 1}[told.json["status"]] or told.json["errors"]
        out = tmp_path / "out.jsonl"
        return told.json, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []

    return run


@pytest.fixture
def letters(say: Callable) -> Callable[[], list[tuple[str, Any]]]:
    """The dead letters of the flow: code and line of each, in the order of the file."""

    def listed() -> list[tuple[str, Any]]:
        shown = [say("dlq", "show", "flow.yaml", "--json")]
        return sorted(((each["code"], each["place"]["line"]) for each in shown[0].json), key=lambda each: each[1])

    return listed


@pytest.mark.parametrize(
    ("name", "content", "rows", "refused"),
    [
        (
            "in.jsonl",
            b'{"a":1}\n{"a":\nnot json\n[1]\n"x"\n{"a":2}\n{"a":3}{"a":4}\n\xff\xfe\n{"a":5,"a":6}\n\n{"a":7}\n{"a":8',
            [{"a": 1}, {"a": 2}, {"a": 7}],
            [("files.bad_json", 2), ("files.bad_json", 3), ("files.bad_json", 4), ("files.bad_json", 5),
             ("files.bad_json", 7), ("files.bad_utf8", 8), ("files.bad_json", 9), ("files.bad_json", 12)],
        ),
        (
            "in.jsonl",
            b'{"a":1}\n' * 9 + b'{"a":"text"}\n{"a":true}\n{"a":99999999999999999999}\n{"a":' + b"[" * 50_000,
            [{"a": 1}] * 9,
            [("files.bad_type", 10), ("files.bad_type", 11), ("files.bad_type", 12), ("files.bad_json", 13)],
        ),
        ("in.jsonl", b"\x00\x00\n\n", [], [("files.bad_json", 1)]),
        ("in.jsonl", b'\xef\xbb\xbf{"a":1}\r\n{"a":2}', [{"a": 1}, {"a": 2}], []),
        (
            "in.csv",
            b'a,b\n1,2\n3\n4,5,6\n7,\xff\n8,"x\ny"\n10,11\n',
            [{"a": 1, "b": "2"}, {"a": 8, "b": "x\ny"}, {"a": 10, "b": "11"}],
            [("files.ragged_row", 3), ("files.ragged_row", 4), ("files.bad_utf8", 5)],
        ),
        ("in.csv", b"a,b\n" + b"1,2\n" * 9 + b"x,3\n", [{"a": 1, "b": 2}] * 9, [("files.bad_type", 11)]),
        ("in.csv", b"a,b\n", [], []),
        ("in.jsonl", b"", [], []),
        ("in.csv", b"", [], []),
    ],
    ids=["json", "json types", "json nul", "json bom", "csv", "csv types", "csv header", "empty json", "empty csv"],
)  # fmt: skip
def test_bad_lines_are_refused_with_their_place_and_all_others_are_written(
    name: str, content: bytes, rows: list[Any], refused: list[Any], read: Callable, letters: Callable
) -> None:
    answer, written = read(name, content)
    assert (answer["status"], written, letters()) == ("finished", rows, refused)
    assert answer["rows"]["read"] == answer["rows"]["written"] + answer["rows"]["rejected"]
    assert (answer["rows"]["written"], answer["rows"]["rejected"]) == (len(rows), len(refused))


STRICT = FLOW.replace("path: IN", "path: IN, schema: {a: int, at: timestamp}")


def test_values_that_do_not_fit_a_given_schema_are_refused(read: Callable, letters: Callable) -> None:
    content = b'{"a":1,"at":"2026-01-01T00:00:00"}\n{"a":"x"}\n{"a":1.5}\n{"at":"yesterday"}\n{"a":2}\n'
    rows = read("in.jsonl", content, STRICT)[1]
    assert [row["a"] for row in rows] == [1, 2]
    assert letters() == [("files.bad_type", 2), ("files.bad_type", 3), ("files.bad_type", 4)]


def test_a_flow_may_stop_at_the_first_bad_line(read: Callable, say: Callable, tmp_path: Path) -> None:
    flow = FLOW.replace("path: IN", "path: IN, on_bad: fail")
    answer, rows = read("in.jsonl", b'{"a":1}\n{"a"\n{"a":3}\n', flow)
    problem = answer["problems"][0]
    assert (answer["status"], problem["code"], problem["line"], rows) == ("failed", "files.bad_json", 2, [])
    answer, rows = read("in.jsonl", b'{"a":1}\n{"a":2}\n{"a":3}\n', flow)
    assert (answer["problems"][0]["code"], rows) == ("source.split_changed", []), "the file is another one now"
    assert say("run", "flow.yaml", "--json", "--from-start").json["rows"]["written"] == 3


STEPS = """\
steps: {f: {uses: std/filter, from: s, with: {where: "a > 1"}}}
"""


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv"])
def test_an_empty_file_passes_through_steps_whose_columns_nobody_knows(name: str, read: Callable) -> None:
    answer, rows = read(name, b"", FLOW.replace("from: s", "from: f") + STEPS)
    assert (answer["status"], answer["rows"]["read"], rows) == ("finished", 0, [])


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing else PAR1", b"no parquet at all, but long enough to look at"])
def test_half_a_parquet_file_is_an_error_that_names_it(content: bytes, read: Callable) -> None:
    answer, rows = read("in.parquet", content)
    problem = answer["problems"][0]
    assert (answer["status"], problem["code"], rows) == ("failed", "files.bad_parquet", [])
    assert "in.parquet" in problem["message"]
    assert (problem["file"], problem["line"]) == ("flow.yaml", 3)


def test_one_file_among_many_that_is_no_data_is_named(read: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "b.jsonl").mkdir()
    os.mkfifo(tmp_path / "c.jsonl")
    answer, rows = read("'*.jsonl'", None)
    assert (answer["status"], rows) == ("finished", [{"a": 1}])
    problem = read("c.jsonl", None)[0]["errors"][0]
    assert (problem["code"], problem["line"], problem["column"]) == ("files.unreadable", 3, 45)


MEASURED = """
import resource, sys
from dataflare_host.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""
HUGE = 200 << 20


@pytest.mark.parametrize(
    ("name", "before", "behind"),
    [("in.jsonl", b'{"a":1}\n{"a":"', b'"}\n{"a":2}\n'), ("in.csv", b'a,b\n1,2\n"', b'",3\n2,4\n')],
)
def test_a_line_of_200_megabytes_is_refused_in_bounded_memory(
    name: str, before: bytes, behind: bytes, tmp_path: Path
) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW.replace("IN", name))
    with (tmp_path / name).open("wb") as file:
        file.write(before)
        for _ in range(HUGE >> 20):
            file.write(b"x" * (1 << 20))
        file.write(behind)
    command = [sys.executable, "-c", MEASURED, "run", "flow.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    (tmp_path / name).unlink()
    answer, used = done.stdout.splitlines()[-2:]
    assert done.returncode == 0, done.stderr
    assert json.loads(answer)["rows"] == {"read": 3, "written": 2, "rejected": 1, "dropped": 0}
    assert "files.line_too_long" in done.stderr
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["a"] for line in written) == [1, 2]  # two lanes read the two ends
    assert int(used) < 400


def test_what_is_piped_into_a_second_run_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(FLOW.replace("std/files, with: {path: IN}", "std/stdio"))
    command = [sys.executable, "-m", "dataflare_host", "run", "flow.yaml", "--json"]
    for given in (b'{"a":1}\n{"a"\n', b'{"a":2}\n\xff\n{"a":3}'):
        done = subprocess.run(command, input=given, cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"]["rejected"] == 1
    assert [json.loads(line)["a"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [1, 2, 3]
