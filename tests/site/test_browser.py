"""The pages of an index in a real browser: searched, by keyboard, on a phone, by what screen readers rely on."""

from __future__ import annotations

import fcntl
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import npm
import pytest
from index.wheels import wheel

from dataflare_index.catalogue import Listed
from dataflare_index.publishing import add, init
from dataflare_site.pages import make

HERE = Path(__file__).parent
HOSTILE = '"><img src=x onerror="globalThis.hit = 1"><script>globalThis.hit = 1</script>'
RUNTIMES = ("wasm", "js", "python")


TABLE = {
    "components": [
        {
            "kind": "processor",
            "name": "tabled",
            "config": {
                "properties": {
                    "size": {"type": "integer", "default": 3, "description": HOSTILE},
                    "unit": {"enum": ["m", "km"], "description": "Of lengths."},
                },
                "required": ["unit"],
            },
        }
    ]
}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of any web server for a folder."""
    made = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *given: Any) -> None:
        """No lines."""


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
    add(index, [wheel(folder / "built", "tabled", table=json.dumps(TABLE).encode())])
    make(index, index / "site")
    (folder / "www" / "pages").mkdir(parents=True)
    (folder / "www" / "pages" / "x").symlink_to(index / "site")
    modules = folder / "node_modules"
    modules.symlink_to(npm.node_modules(HERE / "package.json"))
    script = folder / "browse.mjs"
    script.write_bytes((HERE / "browse.mjs").read_bytes())
    with (modules.resolve().parent / "browsing").open("w") as lock:  # the browser is unpacked into one place
        fcntl.flock(lock, fcntl.LOCK_EX)
        with served(folder / "www") as address:
            words = ["node", str(script), str(index / "site"), "geohash", f"{address}/pages/x/"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_words_are_searched_and_the_number_found_is_announced(seen: dict[str, Any]) -> None:
    assert seen["all"] == "123 found, the first 50 are shown"
    assert seen["found"] == ["2 found", ["geo-fence", "geohash"]]


def test_a_facet_leaves_only_what_has_it(seen: dict[str, Any]) -> None:
    assert seen["facet"][0] == "geo-fence"
    assert len(seen["facet"]) == 41


def test_the_keyboard_goes_everywhere(seen: dict[str, Any]) -> None:
    assert (seen["slash"], seen["down"], seen["up"]) == ("words", "geo-fence", "words")
    assert seen["went"] == "plugin/geo-fence/index.html"


def test_the_install_line_is_copied_or_selected(seen: dict[str, Any]) -> None:
    assert seen["copied"] in ("copied", "selected: copy it by the keyboard")


def test_below_a_path_everything_is_found(seen: dict[str, Any]) -> None:
    assert seen["served"][0] == "1 found"
    assert [link.partition("/pages/x/")[2] for link in seen["served"][1]] == ["plugin/tabled/index.html"]
    assert (seen["below"], seen["back"]) == ("plugin/tabled/index.html", "index.html")
    assert seen["styled"]


def test_the_table_of_configuration_is_seen(seen: dict[str, Any]) -> None:
    head, *rows = seen["table"]
    assert head == ["Field", "Type", "Default", "Required", "Meaning"]
    assert rows == [
        ["size", "integer", "3", "", HOSTILE],
        ["unit", '"m" | "km"', "", "yes", "Of lengths."],
    ]


def test_the_install_line_is_copied_by_the_keyboard(seen: dict[str, Any]) -> None:
    assert (seen["byKeyboard"], seen["clipboard"]) == ("copied", "dataflare plugin add tabled")


def test_nothing_scrolls_sideways_on_a_phone(seen: dict[str, Any]) -> None:
    assert seen["scrolls"] == {"home": False, "plugin": False, "report": False}


def test_screen_readers_find_what_they_need_in_both_colour_schemes(seen: dict[str, Any]) -> None:
    assert len(seen["violations"]) == 6
    assert {page: found for page, found in seen["violations"].items() if found} == {}


def test_what_authors_wrote_never_runs_and_nothing_is_asked_of_anybody(seen: dict[str, Any]) -> None:
    assert seen["hit"] == {"home": None, "plugin": None, "report": None}
    assert seen["noise"] == []
