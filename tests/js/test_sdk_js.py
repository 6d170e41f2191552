"""The JavaScript SDK: its own tests, and a bundled plugin that a host talks to by frames."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from js.piped import Piped, bundle
from vectors.conversations import CONVERSATIONS, Answering, play

from dataflare.guest import Frame
from dataflare.hosting import Guests, Limits, component_classes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write-a-plugin-js.md"


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [("tsc", "--noEmit"), ("eslint", "."), ("prettier", "--check", ".")], ids="_".join)
def test_its_sources_are_clean(sdk_js: Path, words: tuple[str, ...]) -> None:
    run(sdk_js, f"node_modules/.bin/{words[0]}", *words[1:])


def test_its_own_tests_pass(sdk_js: Path) -> None:
    tests = sorted(str(path.relative_to(sdk_js)) for path in (sdk_js / "test").glob("*.test.ts"))
    assert "# fail 0" in run(sdk_js, "node", "test.mjs", *tests)


@pytest.fixture(scope="module")
def vectors(sdk_js: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The components of the vectors as one script."""
    return bundle(sdk_js, "test/plugin.ts", tmp_path_factory.mktemp("bundle"))


def test_every_conversation_goes_as_written_over_a_pipe(sdk_js: Path, vectors: Path) -> None:
    for conversation in CONVERSATIONS:
        guest, host = Piped(sdk_js, vectors), Answering()
        play(conversation, lambda frame, guest=guest, host=host: guest.call(frame, host, 60), host)  # type: ignore[misc]
        guest.close()


def test_a_bundle_has_a_source_map_with_the_authors_files(vectors: Path) -> None:
    told = json.loads(vectors.with_suffix(".js.map").read_text("utf-8"))
    assert any(source.endswith("test/plugin.ts") for source in told["sources"])


@pytest.fixture
def page(sdk_js: Path) -> Iterator[Path]:
    """The TypeScript blocks of the page as modules."""
    folder = sdk_js / "src" / "page"
    folder.mkdir()
    for number, text in enumerate(re.findall(r"^```ts\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)):
        kind = "test.ts" if "node:test" in text else "ts"
        (folder / f"block{number}.{kind}").write_text(text, "utf-8")
    yield folder
    shutil.rmtree(folder)


def test_what_the_page_shows_is_sound_and_holds(sdk_js: Path, page: Path) -> None:
    assert len(list(page.iterdir())) > 5
    run(sdk_js, "node_modules/.bin/tsc", "--noEmit")
    run(sdk_js, "node_modules/.bin/prettier", "--check", str(page.relative_to(sdk_js)))
    tests = [str(path.relative_to(sdk_js)) for path in page.glob("*.test.ts")]
    assert "# pass 3" in run(sdk_js, "node", "test.mjs", *tests)


def test_the_components_of_the_page_are_described(sdk_js: Path, page: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in page.glob("*.ts") if not path.name.endswith(".test.ts"))
    entry = page / "all.ts"
    entry.write_text("".join(f'export * from "./{name}.js";\n' for name in names), "utf-8")
    guest = Piped(sdk_js, bundle(sdk_js, entry, tmp_path))
    told = guest.call(Frame({"op": "describe"}), lambda question: question, 60).header
    guest.close()
    named = {f"{each['kind']}:{each['name']}" for each in told["components"]}
    assert named >= {
        "source:numbers",
        "source:orders",
        "processor:with-vat",
        "processor:quiet",
        "sink:shop",
        "tool:tax-of",
    }
    made = component_classes(told, Guests(no_guest), Limits(), "page")
    assert len(made) == len(named)


def no_guest() -> Any:
    raise AssertionError("no guest is needed to know its components")
