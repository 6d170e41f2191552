"""Publishing into a large index and searching in it: ``python bench/index.py [PLUGINS]``.

Builds an index of so many plugins (10,000) in a temporary folder, serves it on loopback, and prints as JSON: seconds to
publish one wheel (median of five, each a new plugin), to search with an empty cache (median of three), and again
(median of 20: the timestamp is asked for, all else was kept).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "index"))
from wheels import wheel

from dataflare_index.checking import root_of
from dataflare_index.client import Client
from dataflare_index.publishing import add, init
from dataflare_index.searching import matching
from dataflare_index.serving import server_of

KINDS = ("source", "processor", "sink", "codec", "enrich", "geo", "audit", "crypto", "text", "image")


def main() -> None:
    """Build, measure, print."""
    plugins = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="dataflare-bench-") as folder:
        place = Path(folder)
        index = place / "index"
        built = build(place, index, plugins)
        publish = [timed(lambda n=n: add(index, [wheel(place / "new", f"fresh-{word(n)}")])) for n in range(5)]
        with server_of(index, 0, quiet=True) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}"
            root = root_of(index)
            cold = [timed(lambda n=n: search(address, root, place / f"cold{n}")) for n in range(3)]
            warm = [timed(lambda: search(address, root, place / "cold0")) for _ in range(20)]
            server.shutdown()
        told = {
            "plugins": plugins,
            "build_s": round(built, 1),
            "publish_s": round(statistics.median(publish), 3),
            "search_cold_s": round(statistics.median(cold), 3),
            "search_warm_s": round(statistics.median(warm), 4),
            "search_bytes": (index / "search.json").stat().st_size,
        }
    print(json.dumps(told))


def build(place: Path, index: Path, plugins: int) -> float:
    """An index of so many plugins; seconds. Nothing is synced to the disk meanwhile, which would take most of them."""
    sync = os.fsync
    os.fsync = lambda handle: None
    try:
        began = time.perf_counter()
        init(index, "bench")
        add(index, [wheel(place / "wheels", f"{KINDS[n % 10]}-{word(n)}") for n in range(plugins)])
        return time.perf_counter() - began
    finally:
        os.fsync = sync


def word(number: int) -> str:
    """A name that looks like no other number's."""
    syllables = ("ba", "ke", "di", "fo", "gu", "ha", "je", "ky", "mo", "nu")
    return "".join(syllables[int(digit)] for digit in f"{number:05d}")


def search(address: str, root: bytes, cache: Path) -> None:
    """As somebody who trusts the root, in a new session."""
    found = matching(Client(address, root, cache).search().values(), ["geo", "tests"])
    assert found


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
