"""``dataflare keyring new PATH``: make a key file, or add a key to one."""

from __future__ import annotations

import base64
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataflare import command, field
from dataflare.context import Context
from dataflare.errors import ConfigError
from dataflare_state import problems
from dataflare_state.durable import sync_folder, write_file
from dataflare_state.keyrings import SIZE, KeyringFile


@command(group="keyring", name="keyring.new")
def new_key(
    host: Any, path: Path, *, id: str | None = field(default=None, help="The id of the key; else today's date.")
) -> Any:
    """Make a key file, or add a key to one: new content is then encrypted with it, older stays readable."""
    old, known = "", list[str]()
    if path.exists():
        ring = KeyringFile(path=path.name)
        ring.open(Context(base=path.absolute().parent))
        known, old = list(ring.read()), path.read_text()
    name = id or _unused(datetime.now(UTC).strftime("%Y-%m-%d"), known)
    if name in known or ":" in name or name != name.strip() or not name.isprintable() or len(name.encode()) > 255:
        raise ConfigError.of(
            "state.key_id",
            f"`{name}` cannot be the id of a new key",
            cause="the file has one of that id" if name in known else "an id is one line of text without `:`",
            fix="choose another `--id`",
        )
    line = f"{name}: {base64.b64encode(os.urandom(SIZE)).decode()}\n"
    text = old if not old or old.endswith("\n") else old + "\n"

    def write() -> None:
        aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        with problems.told(path):
            try:
                write_file(aside, (text + line).encode())
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
            sync_folder(path.absolute().parent)

    host.change("keyring.new", str(path), write, {"id": name})
    return {"path": str(path), "id": name, "keys": [*known, name]}


def _unused(name: str, known: list[str]) -> str:
    names = (name if number == 1 else f"{name}.{number}" for number in range(1, len(known) + 2))
    return next(each for each in names if each not in known)
