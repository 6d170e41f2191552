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

from dataflare.guest import Frame
from dataflare.hosting import Guests, Limits, component_classes

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "write-a-plugin-js.md"
CONVERSATIONS = json.loads((VECTORS / "guest.json").read_text())["conversations"]


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
def bundle(sdk_js: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The components of the vectors as one script."""
    made = tmp_path_factory.mktemp("bundle") / "plugin.js"
    run(sdk_js, "node", "bundle.mjs", "test/plugin.ts", str(made))
    return made


class Talk:
    """A host that talks to a bundled plugin under Node."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.answers: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """Questions that are expected, and what they are answered."""

    def ask(self, header: dict[str, Any], parts: list[bytes] | None = None) -> Frame:
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None
        assert receiving is not None
        Frame(header, parts or []).write(sending)  # type: ignore[arg-type]
        while (answer := Frame.read(receiving)) is not None and "op" in answer.header:  # type: ignore[arg-type]
            question, told = self.answers.pop(0)
            assert answer.header == question
            Frame(told).write(sending)  # type: ignore[arg-type]
        assert answer is not None
        return answer


@pytest.fixture
def talk(sdk_js: Path, bundle: Path) -> Iterator[Talk]:
    words = ["node", str(sdk_js / "serve.mjs"), str(bundle)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Talk(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_bundle_talks_over_a_pipe(talk: Talk) -> None:
    found = {f"{each['kind']}:{each['name']}" for each in talk.ask({"op": "describe"}).header["components"]}
    assert found >= {"source:numbers", "processor:times", "processor:totals", "sink:shelf", "tool:add"}
    (conversation,) = [each for each in CONVERSATIONS if each["name"] == "keyed state is asked of the host"]
    for turn in conversation["turns"]:
        talk.answers = [(each["question"], each["answer"]) for each in turn.get("host", ())]
        answer = talk.ask(turn["request"], [json.dumps(part["json"]).encode() for part in turn.get("parts", ())])
        assert answer.header == turn["answer"]
        assert [json.loads(bytes(part)) for part in answer.parts] == [
            part["json"] for part in turn.get("answer_parts", ())
        ]


def test_a_bundle_has_a_source_map_with_the_authors_files(bundle: Path) -> None:
    told = json.loads(bundle.with_suffix(".js.map").read_text("utf-8"))
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
    run(sdk_js, "node", "bundle.mjs", str(entry.relative_to(sdk_js)), str(tmp_path / "plugin.js"))
    words = ["node", str(sdk_js / "serve.mjs"), str(tmp_path / "plugin.js")]
    done = subprocess.run(words, input=Frame({"op": "describe"}).pack(), capture_output=True, timeout=60)
    told = Frame.unpack(done.stdout).header
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
