"""The SDKs for Go and JavaScript: each new plugin gets a copy, since they are in no registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Sdk = Literal["go", "js"]
HERE = Path(__file__).parent
PLACES = {"go": "sdk-go", "js": "sdk-js"}
"""Where they are in a checkout; in a wheel they lie below ``sdks`` beside this module."""
LEFT_OUT = {"node_modules", "dist", "test", "vectors", "testdata", "eslint.config.js"}
"""Names of what is for those who change an SDK."""


def sdk_files(root: Path) -> Iterator[Path]:
    """The files of an SDK that its users need, relative to its folder."""
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.is_file() and not hidden and not LEFT_OUT & set(place.parts) and not path.name.endswith("_test.go"):
            yield place


def sdk_folder(sdk: Sdk) -> Path:
    """Where the sources of an SDK are here."""
    packed = HERE / "sdks" / sdk
    return packed if packed.is_dir() else HERE.parents[2] / PLACES[sdk]


def copy_sdk(sdk: Sdk, target: Path) -> list[Path]:
    """Copy an SDK into a plugin's folder; its files, relative to there."""
    root, made = sdk_folder(sdk), []
    for place in sdk_files(root):
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / place, target / place)
        if place.suffix == ".mjs":  # the commands that its package has
            (target / place).chmod(0o755)
        made.append(place)
    if sdk == "js":
        _without_tools(target / "package.json")
    return made


def _without_tools(file: Path) -> None:
    """npm would install what those need who change the SDK."""
    told = json.loads(file.read_text("utf-8"))
    kept = {word: value for word, value in told.items() if word not in ("devDependencies", "scripts", "prettier")}
    file.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
