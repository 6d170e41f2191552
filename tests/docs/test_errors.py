"""Every problem code of the source has its line in docs/errors.md, and every line there has a code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "sdk/dataflare",
    "host/dataflare_host",
    *(str(folder.relative_to(ROOT)) for folder in sorted(ROOT.glob("plugins/*"))),
)
WORDS = frozenset(re.findall(r"`([a-z]+)\.\*`", (ROOT / "docs" / "errors.md").read_text("utf-8")))
"""The first parts of codes: those that a heading of the page names."""
NOT_CODES = re.compile(
    r"(state|dlq|plugin|audit)\.(check|flow|query|inspect|get|put|items|names|reset|resolve|export|import|copy|verify|migrate"
    r"|list|show|drop|replay|info)"
    r"|plugin\.(add|search|build|dev|new|remove|test|wasm|js|swap|reload|lock|sync|upgrade|why|tree|outdated|audit|sbom|export|deploy|diff|publish|keys\.(new|list|rotate))\Z"
    r"|bundle\.(json|dsse\.json|mjs)\Z|plugin\.html\Z"
    r"|(flow\.(run|schema|started|stop|status|drain|reload))"
    r"|index\.(init|add|yank|advise|refresh|verify|mirror|serve|site|trust|html|json)\Z"
    r"|secret\.read|dataflare\.lock"
    r"|verify\.toml"
)
"""Names of commands, actions, events and files, which look alike."""
BEGINNINGS = {"flow.no_": ("source", "sink"), "plan.no_": ("engine", "mode", "state")}
"""Codes that the source puts together."""
CODE = re.compile(r"[a-z]+(\.[a-z0-9_]+)+\Z")


def codes_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "refuse":
            short = node.args[0]  # the manifest reader says `api` for `plugin.api`
            if isinstance(short, ast.Constant) and isinstance(short.value, str) and "." not in short.value:
                yield f"plugin.{short.value}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if text in BEGINNINGS:
                yield from (text + end for end in BEGINNINGS[text])
            elif text == "commit_pending" or (CODE.match(text) and text.partition(".")[0] in WORDS):
                yield text


@pytest.fixture(scope="module")
def source() -> dict[str, str]:
    """Code → a file that has it."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    found = {
        code: str(file.relative_to(ROOT)) for file in files for code in codes_in(ast.parse(file.read_text("utf-8")))
    }
    for script in sorted((ROOT / "sdk-js" / "src").rglob("*.ts")):
        raised = re.findall(r'new (?:ConfigError|Failed|Refused)\(\s*"([a-z0-9_.]+)"', script.read_text("utf-8"))
        found |= dict.fromkeys(raised, str(script.relative_to(ROOT)))
    return {code: file for code, file in found.items() if not NOT_CODES.match(code)}


@pytest.fixture(scope="module")
def page() -> list[str]:
    return re.findall(r"^\| `([a-z0-9_.]+)` \| .+ \| .+ \|$", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.M)


def test_every_code_is_documented(source: dict[str, str], page: list[str]) -> None:
    assert {code: file for code, file in source.items() if code not in page} == {}


def test_every_documented_code_is_in_the_source(source: dict[str, str], page: list[str]) -> None:
    assert [code for code in page if code not in source] == []


def test_each_is_documented_once(page: list[str]) -> None:
    assert len(page) == len(set(page))
