"""A file of Python is a plugin without packaging: ``./shop.py/numbers``."""

import pytest

from dataflare.errors import ConfigError
from dataflare_host import Host

SHOP = '''
from dataflare import processor, source

@source
def numbers(position: int = 0, *, count: int = 3):
    """Whole numbers."""
    yield {"n": list(range(count))}, count

@processor(aliases=("twice",))
def to_double(batch):
    """Doubles."""
    return batch
'''


@pytest.fixture
def host():
    return Host.start(())


def refusal(host, kind, uses, base):
    with pytest.raises(ConfigError) as caught:
        host.table().find(kind, uses, base)
    return caught.value.problems[0]


def test_a_file_is_found_from_the_flow_on(host, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    entry = host.table().find("source", "./shop.py/numbers", tmp_path)
    assert (entry.uses, entry.name, entry.file) == ("./shop.py/numbers", "numbers", tmp_path / "shop.py")
    assert host.component("./shop.py/numbers", {"count": 5}, "source", tmp_path).count == 5
    assert host.table().find("processor", "shop.py/to-double", tmp_path).summary == "Doubles."
    assert host.table().find("processor", f"{tmp_path}/shop.py/twice").name == "to-double"


def test_an_edit_is_seen_at_once_and_changes_the_version(host, tmp_path):
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    before = host.table().find("source", "./shop.py/numbers", tmp_path)
    file.write_text(SHOP.replace("Whole", "Round"))
    after = host.table().find("source", "./shop.py/numbers", tmp_path)
    assert (before.summary, after.summary) == ("Whole numbers.", "Round numbers.")
    assert before.version != after.version


def test_the_same_content_runs_once(host, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    first = host.table().find("source", "./shop.py/numbers", tmp_path).load()
    assert host.table().find("source", "./shop.py/numbers", tmp_path).load() is first


@pytest.mark.parametrize(
    ("kind", "name", "message", "fix"),
    [
        ("source", "numbrs", "`./shop.py` has no source `numbrs`", "did you mean `./shop.py/numbers`?"),
        ("sink", "numbers", "`./shop.py/numbers` is a source, not a sink", "its sink components: none"),
        ("sink", "hole", "`./shop.py` has no sink `hole`", "its sink components: none"),
    ],
)
def test_an_unknown_name_is_told(host, tmp_path, kind, name, message, fix):
    (tmp_path / "shop.py").write_text(SHOP)
    problem = refusal(host, kind, f"./shop.py/{name}", tmp_path)
    assert (problem.code, problem.message) == ("flow.unknown_component", message)
    assert problem.fix.startswith(fix)


def test_a_missing_file_is_told(host, tmp_path):
    assert refusal(host, "source", "./none.py/x", tmp_path).code == "plugin.file_missing"


def test_an_unreadable_file_is_told(host, tmp_path):
    (tmp_path / "folder.py").mkdir()
    assert refusal(host, "source", "./folder.py/x", tmp_path).code == "plugin.file_unreadable"


@pytest.mark.parametrize(
    ("source", "line", "cause"),
    [
        ("x = 1\ndef broken(:\n", 2, "SyntaxError"),
        ("import os\n\nimport no_such_module_at_all\n", 3, "ModuleNotFoundError"),
        ("def f():\n    raise SystemExit(3)\nf()\n", 2, "SystemExit"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("x = '\0'", None, "SyntaxError"),
    ],
)
def test_a_file_that_fails_is_told_with_its_line(host, tmp_path, source, line, cause):
    (tmp_path / "bad.py").write_text(source)
    problem = refusal(host, "source", "./bad.py/x", tmp_path)
    assert (problem.code, problem.line) == ("plugin.file_failed", line)
    assert problem.cause.startswith(cause)
    assert problem.file == (str(tmp_path / "bad.py") if line else problem.file)


def test_a_mistake_in_a_declaration_keeps_its_words_and_gets_a_place(host, tmp_path):
    (tmp_path / "bad.py").write_text(SHOP.replace("*, count", "count"))
    problem = refusal(host, "source", "./bad.py/numbers", tmp_path)
    assert "`count` is not passed by the engine: put it after `*`" in problem.message
    assert problem.file == str(tmp_path / "bad.py")
