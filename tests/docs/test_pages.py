"""What the pages show is true: shell commands run, Python runs, flows plan, manifests are read, links lead somewhere.

A page's shell blocks run one after the other in a copy of the examples, each from the root or, where the page says
"run in `FOLDER`", from there. A YAML block whose first line is ``# NAME.yaml`` becomes that file.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from dataflare_flow import Flow
from dataflare_host import Host
from dataflare_host.read_manifest import load_manifest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "examples/*/README.md", "plugins/*/README.md", "*/README.md")
    for path in ROOT.glob(pattern)
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
NOT_RUN = {
    r".*\bpip install\b": "needs a package registry; .ci/run does it",
    r".*\bpytest\b": "would run this suite in itself",
    r"source ": "changes the shell of a person",
    r"python docs/build.py": "test_generated.py runs it with --check",
    r"python bench/": "takes minutes and a gigabyte of data; its parts are checked by lint and types",
    r"(ruff|mypy) ": "tests/test_style.py runs them",
    r"\.ci/run": "runs this suite",
}
"""The beginnings of commands that are shown and not run here, with the reason."""
NOT_HERE = {"examples/third-party-bundle/README.md": "tests/e2e/test_examples.py installs the wheel and runs the same"}
MADE = "the plugins of its flows are made by its commands, which also run the flows"
NOT_PLANNED = {"docs/first-plugin.md": MADE, "docs/plugin-sets.md": MADE}
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language, in order."""
    found = BLOCK.findall((ROOT / page).read_text("utf-8"))
    return [text for name, text in found if name == language]


def with_blocks(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a page's commands run: in a fresh copy of the examples, with the files that the page shows."""
    page = request.getfixturevalue("page")
    left_out = shutil.ignore_patterns("out", ".dataflare", "*.db", "__pycache__", ".*cache")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=left_out)
    said = re.search(r"run in `(examples/[\w-]+)`", (ROOT / page).read_text("utf-8"))
    made = tmp_path / (said[1] if said else Path(page).parent if page.startswith("examples/") else ".")
    for text in blocks(page, "yaml"):
        if named := re.match(r"# ([\w.-]+\.yaml)\n", text):
            (made / named[1]).write_text(text, "utf-8")
    return made


def shell_lines(page: str) -> Iterator[str]:
    """A script of all shell blocks; whatever runs in the background is awaited before the next line."""
    for text in blocks(page, "sh"):
        yield "("
        for line in text.splitlines():
            if any(re.match(beginning, line) for beginning in NOT_RUN):
                continue
            yield line
            if background := re.match(r"dataflare run (\S+) &$", line):
                yield f"until dataflare flow status {background[1]} >/dev/null 2>&1; do sleep 0.05; done"
        yield "true )"


@pytest.mark.parametrize("page", [page for page in with_blocks("sh") if page not in NOT_HERE])
def test_the_commands_of_a_page_run(page: str, folder: Path) -> None:
    script = "\n".join(["set -e", *shell_lines(page)])
    # A folder of its own for what a page keeps of its user, such as keys.
    mine = {"XDG_CONFIG_HOME": str(folder / ".config")}
    variables = {**os.environ, **mine, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    output = folder / ".told"
    with output.open("w") as told:
        # A group of its own, so that a flow left in the background ends with the page. Output goes to a file: a pipe
        # would be held open by such a flow.
        running = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=variables, stdout=told, stderr=told, start_new_session=True
        )
        try:
            code = running.wait(600)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert code == 0, output.read_text("utf-8")


@pytest.mark.parametrize("page", with_blocks("python"))
def test_the_python_of_a_page_runs(page: str, folder: Path) -> None:
    (folder / "test_page.py").write_text("\n".join(blocks(page, "python")), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "test_page.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    only_definitions = done.returncode == 5
    assert done.returncode == 0 or only_definitions, done.stdout + done.stderr


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.start() as started:
        yield started


@pytest.mark.parametrize("page", [page for page in with_blocks("yaml") if page not in NOT_PLANNED])
def test_the_flows_of_a_page_plan(page: str, folder: Path, host: Host) -> None:
    for text in blocks(page, "yaml"):
        if "version" in yaml.safe_load(text):
            (folder / "page.yaml").write_text(text, "utf-8")
            Flow.load(folder / "page.yaml").plan(host)


@pytest.mark.parametrize("page", with_blocks("toml"))
def test_the_manifests_of_a_page_are_read(page: str, tmp_path: Path) -> None:
    for text in blocks(page, "toml"):
        if "plugin" in tomllib.loads(text):
            file = tmp_path / "dataflare.toml"
            file.write_text(text, "utf-8")
            assert load_manifest(file).id


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", (ROOT / page).read_text("utf-8")))
    places = [place for place in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in place]
    assert [place for place in places if not ((ROOT / page).parent / place).exists()] == []


def test_every_page_is_reached() -> None:
    """From the README on, by links."""
    seen, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop().resolve()
        if page not in seen and page.suffix == ".md" and page.is_file():
            seen.add(page)
            left += [page.parent / place for place in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))]
    written = {(ROOT / page).resolve() for page in PAGES if page.startswith("docs/")}
    assert written <= seen
