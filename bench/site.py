"""Pages of a large index, and searching in them: ``python bench/site.py [PLUGINS]``.

Builds an index of so many plugins (10,000) in a temporary folder, and prints as JSON: seconds to make its pages, to
make them again when nothing changed, and when one plugin did; and what a key stroke takes in a browser (the median and
the longest of some thirty, from the input event until the list has changed, without its painting).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "index"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import npm
from index import build, word
from wheels import wheel

from dataflare_index.publishing import add
from dataflare_site.pages import make

BROWSER = Path(__file__).resolve().parents[1] / "tests" / "site"


def main() -> None:
    """Build, measure, print."""
    plugins = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="dataflare-bench-") as folder:
        place = Path(folder)
        index, site = place / "index", place / "site"
        build(place, index, plugins)
        first, again = made(index, site), made(index, site)
        add(index, [wheel(place / "new", f"fresh-{word(0)}")])
        one = made(index, site)
        strokes = typed(site)
        size = (site / "search-data.js").stat().st_size
    told = {"plugins": plugins, "first": first, "again": again, "one_more": one, "search_bytes": size, **strokes}
    print(json.dumps(told))


def made(index: Path, site: Path) -> dict[str, float]:
    """Seconds, and files written."""
    began = time.perf_counter()
    written = make(index, site)["written"]
    return {"s": round(time.perf_counter() - began, 2), "written": written}


def typed(site: Path) -> dict[str, float]:
    """What key strokes took, in milliseconds."""
    folder = site.parent
    (folder / "node_modules").symlink_to(npm.node_modules(BROWSER / "package.json"))
    script = folder / "type.mjs"
    script.write_bytes((BROWSER / "type.mjs").read_bytes())
    words = ["node", str(script), str(site)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
