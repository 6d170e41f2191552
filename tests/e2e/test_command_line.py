"""The command line itself: help, mistakes, exit codes, light start-up, commands of plugins."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

HEAVY = ["pyarrow", "polars", "duckdb", "pydantic", "rich", "yaml", "numpy"]


@pytest.mark.parametrize("words", [["--help"], ["flow", "--help"], ["plugin", "list"], ["plugin", "list", "--json"]])
def test_looking_around_imports_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys
from dataflare_host.cli import main
code = main({words!r})
print(code, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "0 []\n"
    assert done.stdout


def test_help_names_every_command(say: Callable) -> None:
    told = say("--help")
    assert told.code == 0
    for name in ["check", "doctor", "explain", "flow", "plan", "plugin", "run", "tool", "try", "validate"]:
        assert f"\n  {name} " in told.out
    assert "_DATAFLARE_COMPLETE" in told.out


@pytest.mark.parametrize("words", ["run", "try", "validate", "plan", "explain", "check", "doctor", "flow stop"])
def test_every_command_takes_json_and_explains_itself(say: Callable, words: str) -> None:
    told = say(*words.split(), "--help")
    assert told.code == 0
    assert "--json" in told.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["valdate", "x"], "did you mean `validate`?"),
        (["plugin", "inof"], "did you mean `info`?"),
        (["run"], "FLOW"),
        (["run", "flow.yaml", "--modee", "x"], "--modee"),
        (["run", "flow.yaml", "--replace"], "--from-start"),
        (["flow"], "Missing command"),
    ],
)
def test_a_wrong_command_line_is_exit_2(say: Callable, words: list[str], said: str) -> None:
    told = say(*words)
    assert told.code == 2
    assert said in told.err
    assert "cli.usage" in told.err
    assert told.out == ""


def test_with_json_a_mistake_is_json_too(say: Callable) -> None:
    told = say("plugin", "info", "nosuch", "--json")
    assert told.code == 2
    assert told.json["ok"] is False
    assert told.json["errors"][0]["code"] == "plugin.unknown"
    assert len(told.out.splitlines()) == 1


def broken_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataflare_host.cli import contributed

    @click.command()
    @click.option("--json", is_flag=True)
    def broken(json: bool) -> None:
        raise RuntimeError("the roof fell in")

    monkeypatch.setattr(contributed, "click_command", lambda component: broken)


def test_what_nobody_expected_is_one_line_and_a_file(say: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_command(monkeypatch)
    told = say("validate", "--json")
    assert told.code == 1
    problem = told.json["errors"][0]
    assert (problem["code"], problem["message"]) == ("internal.error", "the roof fell in")
    assert "Traceback" not in told.err
    file = Path(problem["cause"].rpartition("see ")[2])
    assert "RuntimeError: the roof fell in" in file.read_text()
    file.unlink()


def test_debug_shows_the_traceback(say: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_command(monkeypatch)
    told = say("--debug", "validate")
    assert told.code == 1
    assert "Traceback" in told.err


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "import sys; from dataflare_host.cli import main; sys.exit(main(['plugin', 'list']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "found"), [("dataflare pl", ["plan", "plugin"]), ("dataflare flow st", ["status", "stop"])]
)
def test_the_shell_completes_commands(words: str, found: list[str]) -> None:
    asked = {"_DATAFLARE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "from dataflare_host.cli import main; main([])"]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [f"plain,{name}" for name in found]


def test_plugin_list_and_info(say: Callable) -> None:
    plugins = {each["id"]: each for each in say("plugin", "list", "--json").json["plugins"]}
    assert plugins["std"]["version"]
    assert "std" in say("plugin", "list").out
    info = say("plugin", "info", "std", "--json").json
    assert info["id"] == "std"
    assert all({"kind", "uses", "summary"} <= set(each) for each in info["components"])
    page = say("plugin", "info", "std")
    assert (page.code, "permissions" in page.out) == (0, True)
    assert "did you mean `std`?" in say("plugin", "info", "stdd").err


def test_plugin_check_holds_the_table_against_the_code(start: Callable, greeter: dict[str, str]) -> None:
    assert answer(start, greeter, "plugin", "check", "greeter").stdout == "greeter: ok\n"
    manifest = Path(greeter["PYTHONPATH"]) / "greeter_plugin" / "dataflare.toml"
    manifest.write_text(manifest.read_text().replace("Say it loud.", "Say it."))
    told = answer(start, greeter, "plugin", "check", "greeter", "--json")
    assert told.returncode == 1
    assert [each["code"] for each in json.loads(told.stdout)["errors"]] == ["plugin.table_differs"]


def test_tools_are_called_with_words_or_json(say: Callable, shop: Path) -> None:
    assert say("tool", "call", "shop.py/tax-of", "net=10").out == "2.0\n"
    given = ('{"net": 10, "country": "DE"}', 'rates={"DE": 0.5}')
    assert say("tool", "call", "shop.py/tax_of", "--json", *given).json == 5.0
    wrong = say("tool", "call", "shop.py/tax-of", "net=lots")
    assert wrong.code == 2
    assert "net" in wrong.err
    assert say("tool", "call", "shop.py/tax-of", "what").code == 2
    assert "tools" in say("tool", "list", "--json").json


def test_doctor_looks_around(say: Callable, shop: Path) -> None:
    told = say("doctor", str(shop), "--json")
    subjects = {finding["subject"] for finding in told.json["findings"]}
    assert {"python", "sqlite", "plugins", "disk"} <= subjects
    assert told.json["ok"] is (told.code == 0)
    run = shop / ".dataflare" / "run"
    run.mkdir(parents=True)
    (run / "dead.lock").touch()
    (run / "dead.sock").touch()
    assert any(f["subject"] == "flow dead" for f in say("doctor", str(shop), "--json").json["findings"])


# --- commands of plugins -----------------------------------------------------------------------

MANIFEST = """
schema = 1
[plugin]
id = "greeter"
version = "1.0"
summary = "Greets."
[api]
requires = ">=1.0,<2"
[runtime]
kind = "python"
entry = "greeter_plugin"
[components.command]
"greet.hello" = "greeter_plugin.commands:hello"
shout = "greeter_plugin.commands:shout"
[summaries.command]
"greet.hello" = "Say hello to somebody."
shout = "Say it loud."
"""
COMMANDS = '''
from typing import Literal
from dataflare import command

@command(name="greet.hello", group="greet")
def hello(host, name: str, times: int = 1, tone: Literal["warm", "cold"] = "warm", upper: bool = False) -> dict:
    """Say hello to somebody."""
    text = f"hello {name}, {tone}, from a host of {len(host.table().plugins)} plugins"
    return {"said": [text.upper() if upper else text] * times}

@command
def shout(words: list[str]) -> str:
    """Say it loud."""
    return " ".join(words).upper()
'''


@pytest.fixture
def greeter(tmp_path: Path) -> dict[str, str]:
    """A third party's plugin with commands, as an installed wheel leaves it; the variables that make it seen."""
    package, info = tmp_path / "greeter_plugin", tmp_path / "dataflare_greeter-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "dataflare.toml").write_text(MANIFEST)
    (package / "commands.py").write_text(COMMANDS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dataflare-greeter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dataflare.plugins]\ngreeter = greeter_plugin\n")
    return {"PYTHONPATH": str(tmp_path), "DATAFLARE_CACHE": str(tmp_path / "cache")}


def answer(start: Callable, variables: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    process = start(*words, **variables)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_a_plugins_commands_are_commands(start: Callable, greeter: dict[str, str]) -> None:
    told = answer(start, greeter, "greet", "hello", "Ada", "--times", "2", "--upper", "--json")
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)["said"]
    assert len(said) == 2
    assert said[0].startswith("HELLO ADA, WARM")
    assert answer(start, greeter, "shout", "a", "b").stdout == "A B\n"


def test_a_wrong_word_for_a_plugins_command_is_exit_2(start: Callable, greeter: dict[str, str]) -> None:
    told = answer(start, greeter, "greet", "hello", "Ada", "--tone", "hot")
    assert told.returncode == 2
    assert "warm" in told.stderr


def test_help_knows_a_plugins_commands_without_its_code(start: Callable, greeter: dict[str, str]) -> None:
    (Path(greeter["PYTHONPATH"]) / "greeter_plugin" / "commands.py").write_text("raise RuntimeError('no')")
    told = answer(start, greeter, "--help")
    assert "greet " in told.stdout
    assert "Say it loud." in told.stdout
    assert "Say hello to somebody." in answer(start, greeter, "greet", "--help").stdout
    used = answer(start, greeter, "shout", "a", "--json")
    assert used.returncode == 2
    assert json.loads(used.stdout)["errors"][0]["code"] == "plugin.load_failed"


def test_of_two_plugins_with_one_command_none_wins(start: Callable, greeter: dict[str, str]) -> None:
    site = Path(greeter["PYTHONPATH"])
    manifest = site / "greeter_plugin" / "dataflare.toml"
    manifest.write_text(manifest.read_text().replace('shout = "greeter', 'plan = "greeter'))
    told = answer(start, greeter, "plan", "flow.yaml", "--json")
    assert told.returncode == 2
    assert json.loads(told.stdout)["errors"][0]["code"] == "plugin.command_conflict"
    assert "`commands` and `greeter`" in told.stderr


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["nope"], 2)])
def test_the_program_ends_at_once_but_behind_its_exit_handlers(words: list[str], code: int) -> None:
    program = f"""
import atexit, sys
from dataflare_host.cli import main

class Kept:
    def __del__(self):
        print("taken apart")

sys.argv[1:] = {words!r}
sys.kept = Kept()
code = main()
atexit.register(print, "last words")
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stdout.endswith("last words\n")
