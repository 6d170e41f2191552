"""``plugin publish``, ``plugin keys new | list | rotate``: what authors do with their plugins and keys."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dataflare import Command, ConfigError, field

Json = Any
TOKEN = "DATAFLARE_INDEX_TOKEN"
_NAME = "What this user calls the key."


class Publish(Command, name="plugin.publish", group="plugin"):
    """Check and sign wheels of plugins, or what folders of plugins build to, and publish them in an index.

    Refused are wheels with wrong manifests, with code that needs more than it asks for, and with what looks like a
    secret. The first publisher of a name owns it. A plugin whose report is given has it in the index.
    """

    to: str = field(help="The folder of an index, or the address of one that takes uploads.")
    token: str = field(default="", help=f"For uploads; if not given, ${TOKEN}.")
    key: str = field(default="main", help="The key to sign with, by its name; see `plugin keys list`.")
    report: list[Path] = field(
        default=[], help="What `plugin verify --json` said of a wheel; may be given several times."
    )
    verify: bool = field(default=False, help="Verify the wheels first, and publish the reports.")
    seen: list[str] = field(default=[], help="A file of the wheel that looks like a secret and is none.")

    def call(self, host: Any, paths: tuple[Path, ...] = ()) -> Json:
        """``{"added", "known", "snapshot", "publisher"}``. Raises ConfigError, NotTrusted ``index.publisher``."""
        from dataflare_index.authors import read
        from dataflare_index.submitting import publish

        author = read(self.key)
        wheels = [wheel for path in paths or (Path(),) for wheel in _wheels(path, host)]
        reports = [_report(file) for file in self.report]
        if self.verify:
            reports += [_verified(wheel, host) for wheel in wheels]
        token = self.token or os.environ.get(TOKEN, "")
        work = lambda: publish(wheels, self.to, author, host, token=token, reports=reports, seen=self.seen)  # noqa: E731
        answer: Json = host.change("plugin.publish", self.to, work)
        return answer


class KeysNew(Command, name="plugin.keys.new", group="plugin"):
    """Make a key to sign releases with, in this user's configuration folder.

    Keep a copy of it where nobody else comes to: whoever has it publishes in your name; without it you cannot.
    """

    identity: str = field(help="Who you are to those who use your plugins: Ada <ada@example.org>.")
    name: str = field(default="main", help=_NAME)

    def call(self) -> Json:
        """``{"name", "identity", "keyid", "file"}``. Raises ConfigError ``publish.…``."""
        from dataflare_index.authors import new

        return _told(new(self.identity, self.name))


class KeysRotate(Command, name="plugin.keys.rotate", group="plugin"):
    """Let a new key take the place of one; the old one names it as its successor.

    Indexes take the new one from the next publication on, and the old one no more; nobody is alarmed.
    """

    name: str = field(default="main", help=_NAME)

    def call(self) -> Json:
        """``{"name", "identity", "keyid", "file"}``. Raises ConfigError ``publish.key``."""
        from dataflare_index.authors import rotate

        return _told(rotate(self.name))


class KeysList(Command, name="plugin.keys.list", group="plugin"):
    """Show the keys that this user signs releases with."""

    def call(self) -> Json:
        """``{"keys": [{"name", "identity", "keyid", "file"}]}``. Raises ConfigError ``publish.key``."""
        from dataflare_index.authors import names, read

        return {"keys": [_told(read(name)) for name in names()]}

    def show(self, answer: Json) -> str:
        """A line a key."""
        lines = [f"{each['name']}  {each['identity']}  {each['keyid'][:16]}" for each in answer["keys"]]
        return "\n".join(lines) or "there is none yet: `dataflare plugin keys new`"


def _told(author: Any) -> Json:
    from dataflare_index.authors import folder

    file = str(folder() / f"{author.name}.pem")
    return {"name": author.name, "identity": author.identity, "keyid": author.keyid, "file": file}


def _wheels(path: Path, host: Any) -> list[Path]:
    if not path.is_dir():
        return [path]
    from dataflare_author.building import build
    from dataflare_author.folder import folder_at

    return [build(folder_at(path), host).wheel]


def _report(file: Path) -> Json:
    try:
        told = json.loads(file.read_text("utf-8"))
        if isinstance(told, dict):
            return told
        cause = "it is no object"
    except (OSError, ValueError) as error:
        cause = str(error)
    message = f"{file} is no report of conformance"
    raise ConfigError.of("publish.report", message, cause=cause, fix="`dataflare plugin verify WHEEL --json` prints it")


def _verified(wheel: Path, host: Any) -> Json:
    for entry in host.table().entries("command", loading=False):
        if entry.name == "plugin.verify":
            return host.component(entry.uses, {}, "command").call([str(wheel)])
    message = "nothing here verifies plugins"
    raise ConfigError.of("publish.no_verify", message, fix="install `dataflare-verify`, or give the report by --report")
