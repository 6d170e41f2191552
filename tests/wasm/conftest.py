"""The modules that these tests run, built once; and plugins of them, as the loader takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import golang
import pytest

from dataflare_host.manifest import Manifest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def conversing() -> Path:
    """The plugin of the conversations in `tests/vectors/guest.json`."""
    return golang.module(golang.SDK, "./internal/vectors/plugin")


@pytest.fixture(scope="session")
def misbehaving() -> Path:
    """The plugin in `guest/`, which does what rows and configuration tell it to."""
    return golang.module(HERE / "guest")


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Manifest]:
    """Makes a plugin's package of a module, and gives its manifest."""

    def make(wasm: Path | bytes, runtime: str = "wasm", **more: Any) -> Manifest:
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        (folder / "plugin.wasm").write_bytes(wasm if isinstance(wasm, bytes) else wasm.read_bytes())
        file = str(folder / "dataflare.toml")
        return Manifest("acme", "0.1.0", "", runtime, file, entry="plugin.wasm", api=">=1", **more)

    return make
