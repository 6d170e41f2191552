"""Flow files that are wrong in every way: each mistake with code, place and fix, all at once, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

S = "sources: {s: {uses: std/files, with: {path: in.jsonl}}}\n"
K = "sinks: {o: {uses: std/files, from: s, with: {path: out.jsonl}}}\n"
SQL = "sinks: {o: {uses: std/sql, from: s, with: {uri: 'sqlite:///t.db', table: t}}}\n"
BOMB = "".join(
    f"{chr(97 + n)}: &{chr(97 + n)} [{', '.join(['*' + chr(96 + n)] * 9 if n else 'x')}]\n" for n in range(10)
)
PARTS = {"code", "message", "file", "line", "column", "pointer", "fix"}


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Path]:
    """Writes a flow file beside two rows of input; its folder is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"n": 1, "t": "x"}\n{"n": 2, "t": "y"}\n')

    def write(content: str | bytes) -> Path:
        (tmp_path / "flow.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "flow.yaml"

    return write


def spot(text: str, word: str) -> tuple[int, int]:
    """Line and column of the first ``word``."""
    before = text[: text.index(word)]
    return before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        ("version: 1\nname: f\nname: g\n" + S + K, "flow.duplicate_key", (3, 1)),
        ("version: 1\n" + S + K.replace("o: {", "o: {uses: std/count, "), "flow.duplicate_key", (3, 30)),
        ("version: 1\n" + BOMB + S + K, "flow.too_large", None),
        ("version: 1\nsources: &x {s: *x}\n" + K, "flow.alias", (2, 17)),
        ("version: 1\nname: *nope\n" + S + K, "flow.alias", (2, 7)),
        ("version: 1\nname: " + "[" * 3000 + "]" * 3000 + "\n", "flow.too_deep", None),
        ("- 1\n", "flow.not_mapping", (1, 1)),
        ("just text\n", "flow.not_mapping", (1, 1)),
        ("", "flow.empty", (1, 1)),
        ("version: 1\n" + S + K + "---\nversion: 1\n", "flow.syntax", (4, 1)),
        ("version: 1\nsources: {s: [}\n", "flow.syntax", (2, 15)),
        ("version: 1\nsources:\n\ts: 1\n", "flow.syntax", (3, 1)),
        (b"version: 1\x00\n", "flow.syntax", (1, 11)),
        (b"version: 1\nname: caf\xe9\n", "flow.encoding", (2, 10)),
        (("version: 1\n" + S).encode("utf-16"), "flow.encoding", (1, 1)),
        ("version: 1\nname: !!python/object/apply:os.system [true]\n" + S + K, "flow.tag", (2, 7)),
        ("version: 99\n" + S + K, "flow.version", (1, 10)),
        ("version: one\n" + S + K, "flow.version", (1, 10)),
        ("version: 1\n" + S + "sinks: {o: {uses: std/count, from: o2}}\n", "flow.unknown_step", (3, 36)),
        ("version: 1\n" + S + "sinks: {o: {uses: std/count, from: s.late}}\n", "flow.unknown_output", (3, 36)),
        ("version: 1\n" + S + "sinks: {o: {uses: std/count}}\n", "flow.missing_key", (3, 9)),
        ("version: 1\n" + S, "flow.no_sink", (1, 1)),
        ("version: 1\n" + S.replace("in.jsonl", "gone.jsonl") + K, "files.missing", (2, 45)),
        ("version: 1\n" + S.replace("in.jsonl", "'no/*.jsonl'") + K, "files.missing", (2, 45)),
        ("version: 1\n" + S.replace("in.jsonl", "''") + K, "files.missing", (2, 45)),
        ("version: 1\n" + S.replace("in.jsonl", "5") + K, "config.value", (2, 45)),
        ("version: 1\n" + S.replace("in.jsonl", "'${env:NOT_SET}'") + K, "flow.env_unset", (2, 45)),
        ("version: 1\n" + S.replace("in.jsonl", "'${secret:NOT_SET}'") + K, "secret.unknown", (2, 45)),
        ("version: 1\n" + S + SQL.replace("sqlite:///", "mysql://"), "sql.uri", (3, 49)),
        ("version: 1\n" + S + SQL.replace("table: t", "table: sqlite_x"), "sql.reserved_table", (3, 74)),
        ("version: 1\n" + S + K + "guarantee: certain\n", "flow.type", (4, 12)),
        ("version: 1\n" + S + K + "checkpoint: {interval: soon}\n", "flow.type", (4, 24)),
    ],
)
def test_a_mistake_has_code_place_and_fix(
    content: str | bytes, code: str, place: tuple[int, int] | None, flow: Callable, say: Callable, tmp_path: Path
) -> None:
    flow(content)
    told = say("validate", "flow.yaml", "--json")
    assert (told.code, told.json["ok"]) == (2, False)
    error = next(each for each in told.json["errors"] if each["code"] == code)
    assert set(error) >= PARTS
    assert error["message"]
    assert error["fix"]
    assert error["file"] == "flow.yaml"
    assert (error["line"], error["column"]) == place if place else error["line"]
    assert f"flow.yaml:{error['line']}:{error['column']}" in told.err
    assert "Traceback" not in told.err
    run = say("run", "flow.yaml", "--json")
    assert (run.code, run.json["status"], run.json["rows"]["read"]) == (2, "failed", 0)
    assert run.json["errors"] == told.json["errors"]
    assert not (tmp_path / "out.jsonl").exists()


SHAPES = """\
version: 1
name: [1]
sources: [a]
steps: 5
sinks: {o: 7}
checkpoint: 3
state: 4
nane: f
"""


def test_a_file_of_the_wrong_shape_gets_each_of_its_shapes_told(flow: Callable, say: Callable) -> None:
    flow(SHAPES)
    errors = say("validate", "flow.yaml", "--json").json["errors"]
    assert {error["pointer"] for error in errors} >= {
        "/name", "/sources", "/steps", "/sinks/o", "/checkpoint", "/state", "/nane",
    }  # fmt: skip
    assert {error["line"] for error in errors} == set(range(2, 9))
    assert all(error["column"] for error in errors)


MANY = """\
version: 1
name: f
nane: g
sources:
  s: {uses: std/files, with: {path: in.jsonl}}
  misnamed: {uses: std/flies, with: {path: in.jsonl}}
  gone: {uses: std/files, with: {path: nope.jsonl}}
steps:
  text: {uses: std/filter, from: s, with: {where: "t > 20"}}
  typo: {uses: std/filter, from: s, with: {wher: "n > 20"}}
  round: {uses: std/filter, from: about, with: {where: "n > 1"}}
  about: {uses: std/filter, from: round, with: {where: "n > 1"}}
  lost: {uses: std/filter, from: nix, with: {where: "n > 1"}}
  column: {uses: std/select, from: s, with: {columns: [n, zz]}}
sinks:
  o: {uses: std/files, from: text, with: {path: out.jsonl, format: xml}}
  behind: {uses: std/sql, from: [round, typo], with: {uri: 5, table: "", mode: upsrt}}
  after: {uses: std/count, from: column, on_error: panic}
mode: standalon
guarantee: certain
"""
SAID = [
    ("flow.unknown_key", "nane", "write `name`"),
    ("flow.unknown_component", "std/flies", "std/files"),
    ("files.missing", "nope.jsonl", "path"),
    ("plan.expression_type", '"t > 20"', "cast"),
    ("config.unknown_field", 'wher: "n', "write `where`"),
    ("flow.cycle", "about, with", "one way"),
    ("flow.unknown_step", "nix", "use one of"),
    ("plan.unknown_column", "columns: [n", "one of these columns"),
    ("config.choice", "xml", "jsonl"),
    ("config.value", "5, table", "a text"),
    ("config.bound", '"", mode', "at least 1"),
    ("config.choice", "upsrt", "write `upsert`"),
    ("flow.type", "panic", "dead_letter"),
    ("flow.unknown_component", "standalon\n", "standalone"),
    ("flow.type", "certain", "exactly_once"),
]


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_the_file(flow: Callable, say: Callable) -> None:
    flow(MANY)
    told = say("validate", "flow.yaml", "--json")
    found = [(error["code"], error["line"], error["column"]) for error in told.json["errors"]]
    assert found == [(code, *spot(MANY, word)) for code, word, _ in SAID]
    for error, (_, _, fix) in zip(told.json["errors"], SAID, strict=True):
        assert fix in error["fix"]
    assert told.err.count("  fix ") == len(SAID)


@pytest.mark.parametrize("prepared", ["nothing", "a folder"])
@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_flow_file_that_is_none(
    prepared: str, command: str, say: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if prepared == "a folder":
        (tmp_path / "flow.yaml").mkdir()
    told = say(command, "flow.yaml", "--json")
    error = told.json["errors"][0]
    assert (told.code, error["file"]) == (2, "flow.yaml")
    assert error["code"] == ("flow.missing" if prepared == "nothing" else "flow.unreadable")
    assert error["fix"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def x(:\n", "SyntaxError"),
        ("raise RuntimeError('no luck')\n", "no luck"),
        ("import sys; sys.exit(3)\n", "SystemExit"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        ("x = 5\n", "has no source `x`"),
    ],
)
def test_code_beside_the_flow_that_does_not_load_is_told_by_line(
    code: str, said: str, flow: Callable, say: Callable, tmp_path: Path
) -> None:
    (tmp_path / "b.py").write_text(code)
    flow("version: 1\nsources: {s: {uses: ./b.py/x}}\n" + K)
    told = say("validate", "flow.yaml", "--json")
    assert told.code == 2
    assert said in json.dumps(told.json["errors"])
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nope"], "--nope"),
        (["--log-level", "loud"], "loud"),
        (["other.yaml"], "other.yaml"),
        (["--replace"], "--from-start"),
        (["--from-start", "--replace", "--append"], "exclude"),
        (["--guarantee", "certain"], "certain"),
        (["--mode", "standalon"], "standalone"),
    ],
)
def test_a_wrong_command_line_is_answered_like_a_run(
    words: list[str], said: str, flow: Callable, say: Callable, tmp_path: Path
) -> None:
    flow("version: 1\nname: f\n" + S + K)
    told = say("run", "flow.yaml", "--json", *words)
    assert told.code == 2
    assert {"flow", "status", "guarantee", "epoch", "rows", "seconds"} <= set(told.json)
    assert told.json["status"] == "failed"
    assert said in json.dumps(told.json["errors"])
    assert not (tmp_path / "out.jsonl").exists()
    plain = say("run", "flow.yaml", *words)
    assert (plain.code, plain.out) == (2, "")


def test_the_name_of_a_flow_is_told_though_it_is_wrong(flow: Callable, say: Callable) -> None:
    flow("version: 1\nname: hot\n" + S.replace("files", "flies") + K)
    assert say("run", "flow.yaml", "--json").json["flow"] == "hot"


def codes(answer: Any) -> list[str]:
    return [problem["code"] for problem in answer["problems"]]


def rows(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_a_target_with_rows_is_left_alone_until_it_is_said_what_becomes_of_them(
    flow: Callable, say: Callable, tmp_path: Path
) -> None:
    flow("version: 1\nname: f\n" + S + K)
    out = tmp_path / "out.jsonl"
    out.write_text('{"n": 0}\n')
    refused = say("run", "flow.yaml", "--json")
    assert (refused.code, codes(refused.json), rows(out)) == (1, ["sink.not_empty"], [0])
    problem = refused.json["problems"][0]
    assert (problem["file"], problem["line"], problem["column"], problem["pointer"]) == ("flow.yaml", 4, 9, "/sinks/o")
    assert codes(say("run", "flow.yaml", "--json", "--from-start").json) == ["sink.not_empty"]
    assert say("run", "flow.yaml", "--json", "--from-start", "--append").json["rows"]["written"] == 2
    assert rows(out) == [0, 1, 2]
    assert codes(say("run", "flow.yaml", "--json", "--from-start").json) == ["sink.not_empty"]
    assert say("run", "flow.yaml", "--json").json["nothing_new"], "what was refused forgot nothing"
    assert say("run", "flow.yaml", "--json", "--from-start", "--replace").json["rows"]["written"] == 2
    assert rows(out) == [1, 2]


@pytest.mark.parametrize(
    "changed",
    [
        ("version: 1\nname: f\n" + S + K).replace("s: {uses", "renamed: {uses").replace("from: s", "from: renamed"),
        ("version: 1\nname: f\n" + S + K).replace("o: {uses", "renamed: {uses"),
        "version: 1\nname: f\nsources: {s: {uses: std/generate, with: {rows: 3}}}\n" + K,
    ],
    ids=["source renamed", "sink renamed", "another component"],
)
def test_state_of_another_flow_is_refused(changed: str, flow: Callable, say: Callable, tmp_path: Path) -> None:
    flow("version: 1\nname: f\n" + S + K)
    say("run", "flow.yaml", "--quiet")
    flow(changed)
    told = say("run", "flow.yaml", "--json")
    assert (told.code, codes(told.json), told.json["rows"]["read"]) == (1, ["state.mismatch"], 0)
    assert rows(tmp_path / "out.jsonl") == [1, 2]
