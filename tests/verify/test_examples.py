"""The plugins below ``examples/plugins``: each built, tested by its own tests and verified; three in one flow."""

import json
import sys
from pathlib import Path

import duckdb
import pytest

from dataflare_host.cli import main
from dataflare_verify.subject import opened
from dataflare_verify.trying import outcomes

sys.path.insert(0, str(Path(__file__).parent))
import example_plugins

FLOW = example_plugins.ROOT / "examples" / "three-languages"
COMPONENTS = {
    "duckdb": ["sink table"],
    "geohash": ["processor decode", "processor encode"],
    "graphql": ["source connection"],
    "nmea": ["source positions"],
    "quality": ["tool report"],
    "user-agent": ["processor parse"],
}
KILLED = "a-flow-with-it-may-be-killed-anywhere"


def test_each_example_is_here() -> None:
    assert sorted(COMPONENTS) == example_plugins.NAMES


@pytest.fixture(scope="module", params=sorted(COMPONENTS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_plugins.copied(request.param, tmp_path_factory.mktemp("examples"))


def test_it_is_built_and_holds(folder: Path) -> None:
    wheel = example_plugins.wheel(folder)
    assert sorted(example_plugins.described(wheel)) == COMPONENTS[folder.name]
    with opened(wheel) as subject:
        found = list(outcomes(subject))
    wrong = [(each.component, each.case, each.wrong) for each in found if not each.held]
    assert wrong == [], wrong
    if folder.name == "duckdb":
        assert [each.left_out for each in found if each.case == KILLED] == [""]


def test_its_own_tests_pass(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if folder.name in ("duckdb", "quality"):
        assert not list(folder.glob("test*"))  # what they promise is verified; there is nothing beside it
    else:
        assert main(["plugin", "test", str(folder)]) == 0, capfd.readouterr()


LIES = {
    "geohash": (
        "processor.go",
        {"encode)\n": 'encode, dataflare.Cardinality("one"))\n', "dataflare.Reject(": "skipped("},
    ),
    "user-agent": ("src/plugin.ts", {'cardinality: "filter"': 'cardinality: "one"'}),
}
"""Plugin → the file that is changed, and how: it says that each row comes out, and leaves some out."""
SKIPPED = "\nfunc skipped(string, string, ...any) error { return dataflare.ErrSkip }\n"


@pytest.mark.parametrize("name", LIES)
def test_a_lie_in_another_language_is_named(name: str, tmp_path: Path) -> None:
    folder = example_plugins.copied(name, tmp_path)
    file, changes = folder / LIES[name][0], LIES[name][1]
    code = file.read_text("utf-8")
    for truth, lie in changes.items():
        assert truth in code
        code = code.replace(truth, lie)
    file.write_text(code + (SKIPPED if file.suffix == ".go" else ""), "utf-8")
    with opened(example_plugins.wheel(folder)) as subject:
        found = list(outcomes(subject, "/a-row-is-passed-or-refused"))
    assert "rows went in" in next(each.wrong for each in found if not each.held)


def test_three_languages_in_one_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("visits.yaml", "visits.jsonl"):
        (project / name).write_bytes((FLOW / name).read_bytes())
    for name in ("geohash", "user-agent", "duckdb"):
        wheel = example_plugins.wheel(example_plugins.copied(name, tmp_path))
        assert main(["plugin", "add", str(wheel), "--project", str(project), "--grant"]) == 0
    capsys.readouterr()
    assert main(["run", str(project / "visits.yaml"), "--json"]) == 0, capsys.readouterr()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["status"], told["guarantee"]) == ("finished", "exactly_once")
    visits = [json.loads(line) for line in (FLOW / "visits.jsonl").read_text().splitlines()]
    people = [visit for visit in visits if "bot" not in visit["user_agent"]]
    with duckdb.connect(str(project / "out" / "visits.duckdb"), read_only=True) as db:
        rows = db.execute("select visit, geohash, browser, device from visits order by visit").fetchall()
    assert [row[0] for row in rows] == [visit["visit"] for visit in people]
    assert {row[1][:2] for row in rows} == {"u0", "u3", "gc", "xn"}
    assert {row[2:] for row in rows} == {("Chrome", "desktop"), ("Safari", "phone"), ("Firefox", "desktop")}
