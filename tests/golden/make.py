"""Makes the golden plugins of a release of the contract: ``python tests/golden/make.py 1.1``, once, never again.

They are the components of the conversations (``tests/vectors``), compiled with the SDKs as they are then, beside the
conversations as they are then. What a later host does with them is what it does with plugins that were published.
Needs Go, Node.js and npm.
"""

from __future__ import annotations

import io
import lzma
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import golang  # noqa: E402
import npm  # noqa: E402

VECTORS, SDK, SDK_JS = TESTS / "vectors", TESTS.parent / "sdk", TESTS.parent / "sdk-js"
CONVERSING = "./internal/vectors/plugin"


def main(api: str) -> None:
    """Write the folder of a release, which must not be there yet."""
    made = {
        "go.wasm": golang.module(golang.SDK, CONVERSING).read_bytes(),
        "extism.wasm": golang.module(golang.SDK, CONVERSING, tags="extism").read_bytes(),
        "plugin.js": script(),
        "python.zip": zipped({"guest_plugin.py": VECTORS / "guest_plugin.py"}),
        "python-sdk.zip": zipped({str(path.relative_to(SDK)): path for path in sorted(SDK.glob("dataflare/**/*.py"))}),
        "conversations.json": (VECTORS / "guest.json").read_bytes(),
    }
    folder = Path(__file__).with_name(f"api-{api}")
    folder.mkdir()
    for name, content in made.items():
        (folder / f"{name}.xz").write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def script() -> bytes:
    """The components in TypeScript, bundled as an author bundles them."""
    modules = SDK_JS / "node_modules"
    if not modules.exists():
        modules.symlink_to(npm.node_modules(SDK_JS / "package.json", tools=True))
    with tempfile.TemporaryDirectory() as folder:
        words = ["node", "bundle.mjs", "test/plugin.ts", f"{folder}/plugin.js"]
        subprocess.run(words, cwd=SDK_JS, check=True)
        return Path(folder, "plugin.js").read_bytes()


def zipped(files: Mapping[str, Path]) -> bytes:
    """Files under these names, the same bytes each time."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, path in files.items():
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return held.getvalue()


if __name__ == "__main__":
    main(sys.argv[1])
