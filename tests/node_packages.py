"""What ``npm install`` makes of a new plugin, from packages that are installed once for all tests."""

from __future__ import annotations

import json
from pathlib import Path

import npm


def install(folder: Path) -> None:
    """Give a plugin's folder its ``node_modules``."""
    told, sdk = (json.loads((each / "package.json").read_text("utf-8")) for each in (folder, folder / "sdk"))
    wanted = {**sdk["dependencies"], **told.get("devDependencies", {})}
    package = folder / "build" / "package.json"
    package.parent.mkdir(exist_ok=True)
    package.write_text(json.dumps({"dependencies": wanted}), "utf-8")
    shared, own = npm.node_modules(package), folder / "node_modules"
    (own / "@dataflare").mkdir(parents=True)
    (own / ".bin").mkdir()
    for each in shared.iterdir():
        if not each.name.startswith("."):
            (own / each.name).symlink_to(each)
    for program in (shared / ".bin").iterdir():
        (own / ".bin" / program.name).symlink_to(program.resolve())
    (own / "@dataflare" / "sdk").symlink_to(folder / "sdk")
    for name, place in sdk["bin"].items():
        (own / ".bin" / name).symlink_to(folder / "sdk" / place)
    (own / ".package-lock.json").write_text("{}")
