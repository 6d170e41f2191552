"""The pages of an index in a real browser: searched, by keyboard, on a phone, by what screen readers rely on."""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any

import npm
import pytest

from dataflare_index.catalogue import Listed
from dataflare_index.publishing import init
from dataflare_site.pages import make

HERE = Path(__file__).parent
HOSTILE = '"><img src=x onerror="globalThis.hit = 1"><script>globalThis.hit = 1</script>'
RUNTIMES = ("wasm", "js", "python")


def release(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {
        "summary": f"Number {number}. {HOSTILE}",
        "license": "MIT",
        "runtime": RUNTIMES[number % 3],
        "api": ">=1.0,<2",
        "files": {},
        "yanked": HOSTILE if number == 1 else None,
        "dependencies": {"geohash": ">=1"} if number else {},
        "components": {"processor": [name]},
        "summaries": {"processor": {name: HOSTILE}},
        "permissions": {"http": [{"host": "example.org", "reason": HOSTILE}]},
        "publisher": {"identity": HOSTILE, "keyid": "0" * 64},
        "report": {"ok": True, "cases": 12, "failed": 0, "left_out": 0},
        **more,
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser saw."""
    folder = tmp_path_factory.mktemp("site")
    index = folder / "index"
    init(index, "test")
    (index / "catalogue").mkdir(exist_ok=True)
    for number, name in enumerate(["geohash", "geo-fence", *(f"plugin-{each}" for each in range(120))]):
        told = Listed(name, {"1.0.0": release(number, name), "1.1.0": release(number, name)})
        (index / "catalogue" / f"{name}.json").write_bytes(told.content())
    report = index / "reports" / "geohash" / "1.1.0.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"ok": True, "cases": [HOSTILE] * 12}))
    make(index, index / "site")
    modules = folder / "node_modules"
    modules.symlink_to(npm.node_modules(HERE / "package.json"))
    script = folder / "browse.mjs"
    script.write_bytes((HERE / "browse.mjs").read_bytes())
    with (modules.resolve().parent / "browsing").open("w") as lock:  # the browser is unpacked into one place
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = ["node", str(script), str(index / "site"), "geohash"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_words_are_searched_and_the_number_found_is_announced(seen: dict[str, Any]) -> None:
    assert seen["all"] == "122 found, the first 50 are shown"
    assert seen["found"] == ["2 found", ["geo-fence", "geohash"]]


def test_a_facet_leaves_only_what_has_it(seen: dict[str, Any]) -> None:
    assert seen["facet"][0] == "geo-fence"
    assert len(seen["facet"]) == 41


def test_the_keyboard_goes_everywhere(seen: dict[str, Any]) -> None:
    assert (seen["slash"], seen["down"], seen["up"]) == ("words", "geo-fence", "words")
    assert seen["went"] == "plugin/geo-fence/index.html"


def test_the_install_line_is_copied_or_selected(seen: dict[str, Any]) -> None:
    assert seen["copied"] in ("copied", "selected: copy it by the keyboard")


def test_nothing_scrolls_sideways_on_a_phone(seen: dict[str, Any]) -> None:
    assert seen["scrolls"] == {"home": False, "plugin": False, "report": False}


def test_screen_readers_find_what_they_need_in_both_colour_schemes(seen: dict[str, Any]) -> None:
    assert len(seen["violations"]) == 6
    assert {page: found for page, found in seen["violations"].items() if found} == {}


def test_what_authors_wrote_never_runs_and_nothing_is_asked_of_anybody(seen: dict[str, Any]) -> None:
    assert seen["hit"] == {"home": None, "plugin": None, "report": None}
    assert seen["noise"] == []
