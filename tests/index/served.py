"""Indexes that are served on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataflare_index.serving import server_of

TOKEN = "a-token-for-tests-0123456789"


@contextmanager
def serving(index: Path, **more: Any) -> Iterator[str]:
    """The address of an index while it is served."""
    with server_of(index, 0, quiet=True, **more) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def taking(index: Path, folder: Path, **more: Any) -> Iterator[str]:
    """The address of an index that takes uploads with ``TOKEN``."""
    tokens = folder / "tokens"
    tokens.write_text(f"# ours\n{TOKEN}\n")
    tokens.chmod(0o600)
    with serving(index, tokens=tokens, **more) as address:
        yield address
