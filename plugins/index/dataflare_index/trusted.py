"""The indexes that a project trusts: each with the root that was given for it, in ``plugins.toml`` beside its flows.

::

    [indexes.main]
    place = "https://plugins.example"
    root = "trust/main.root.json"

What was seen last of each is kept in ``.dataflare/index/NAME/``: an index that goes back behind it is refused, and what
was checked once stays known where the index's freshness lapses.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from dataflare.errors import ConfigError
from dataflare_author.project_set import ProjectSet
from dataflare_author.refusals import NotTrusted
from dataflare_index.catalogue import Listed
from dataflare_index.client import Client
from dataflare_index.seen import KEPT, REVOKED, Seen, reason_in

Json = Any
TABLE = "indexes"
ROOTS = Path("trust")


@dataclass
class Trusted:
    """An index that a project trusts by its root. ``kept``: the folder of what was seen of it."""

    name: str
    place: str
    root: bytes = field(repr=False)
    kept: Path
    _client: Client | None = field(default=None, repr=False)

    def client(self) -> Client:
        """The index, read by its root; the same one every time, so that one command sees one snapshot."""
        if self._client is None:
            self._client = Client(self.place, self.root, self.kept)
        return self._client

    def names(self) -> list[str]:
        """The plugins. Raises Failed ``index.…``."""
        return self.client().names()

    def snapshot(self) -> int:
        """The number of the snapshot that is read. Raises Failed ``index.…``."""
        return self.client().snapshot()

    def plugin(self, name: str) -> Listed:
        """What it says of a plugin. Raises ConfigError ``index.unknown``, Failed ``index.not_trusted`` …"""
        return Listed.told(name, self.client().plugin(name))

    def search(self) -> dict[str, Json]:
        """What it is searched by: plugin → line. Raises Failed ``index.…``."""
        return self.client().search()

    def revoked(self, snapshot: int) -> str:
        """Why nothing is to be believed that was locked from a snapshot; empty where all is well. Raises Failed …"""
        if snapshot > self.snapshot():
            return f"the index never had a snapshot {snapshot}"
        try:
            return reason_in(json.loads(self.client().file(REVOKED, self.kept / REVOKED).read_bytes()), snapshot)
        except ConfigError:
            return ""

    def check_publisher(self, listed: Listed, version: str) -> None:
        """Are all wheels of a release signed by who is named as publisher? Raises NotTrusted ``index.publisher``."""
        if not listed.releases[version].get("publisher"):
            return
        from dataflare_index import publishers

        for file in sorted(listed.releases[version]["files"]):
            place = publishers.place_of(listed.name, file)
            try:
                envelope = self.client().file(place, self.kept / place).read_bytes()
            except ConfigError as error:
                if error.code != "index.unknown":
                    raise
                envelope = b""
            publishers.check(listed, version, file, envelope)

    def needs(self, plugin: str, wheel: str) -> list[str]:
        """What a wheel requires, as its metadata say it (``Requires-Dist``). Raises ConfigError, Failed ``index.…``."""
        place = f"files/{plugin}/{wheel}.metadata"
        metadata = self.client().file(place, self.kept / place).read_bytes().decode("utf-8", "replace")
        return list(HeaderParser().parsestr(metadata).get_all("Requires-Dist") or ())

    def address(self) -> str:
        """Where it is, as an URL that ends with a slash; ``simple/`` below it is what `pip` and `uv` read."""
        return self.client().address()

    def now(self) -> datetime:
        """How late it is at least: by this machine's clock, or by what the index signed."""
        return self.client().now()

    def seen(self, name: str) -> Listed | None:
        """What it said of a plugin when it was last read and checked, without asking it."""
        return Seen(self.kept).plugin(name)

    def wheel(self, plugin: str, file: str, to: Path, sha256: str = "", size: int = 0) -> Path:
        """A wheel, checked by its digest.

        ``sha256``, ``size``: what a lock holds of it. Who has one takes it from anywhere: also from an index whose
        signatures have expired, since it was checked when it was locked.
        """
        if not sha256:
            return self.client().file(f"files/{plugin}/{file}", to)
        if to.exists() and hashlib.sha256(to.read_bytes()).hexdigest() == sha256:
            return to
        return self.client().locked(f"files/{plugin}/{file}", sha256, to, size)


def trust(project: Path, place: str, root: bytes, name: str = "") -> Trusted:
    """Let a project trust an index by its root. Raises ConfigError ``index.none``, ``index.trusted``, Failed …"""
    where = place if "://" in place else str(Path(place).absolute())
    said = name or _name_of(where, root, project)
    found = next((one for one in indexes_of(project) if one.name == said), None)
    if found is not None and found.root != root:
        message = f"the project trusts another root for `{said}`"
        fix = f"if its keepers began anew, remove `[{TABLE}.{said}]` from plugins.toml and {ROOTS / said}.root.json"
        raise ConfigError.of("index.trusted", message, fix=fix)
    one = Trusted(said, where, root, project / KEPT / said)
    one.snapshot()  # nothing is trusted that the root does not stand for
    file = ROOTS / f"{said}.root.json"
    (project / ROOTS).mkdir(parents=True, exist_ok=True)
    (project / file).write_bytes(root)
    known = ProjectSet(project)
    with known.changing():
        known.put(said, {"place": where, "root": file.as_posix()}, TABLE)
    return one


def read_root(file: Path) -> bytes:
    """The root in a file. Raises ConfigError ``index.root``."""
    try:
        content = file.read_bytes()
        if json.loads(content)["signed"]["_type"] == "root":
            return content
        cause = "it is other metadata"
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = str(error)
    message = f"{file} holds no root of an index"
    raise ConfigError.of("index.root", message, file=str(file), cause=cause, fix="its keepers give it out: 1.root.json")


def indexes_of(project: Path) -> list[Trusted]:
    """All indexes that a project trusts, in its set's order. Raises ConfigError ``index.root``, ``author.set``."""
    found = []
    for name, entry in ProjectSet(project).entries(TABLE).items():
        file = project / str(entry.get("root", ""))
        try:
            root, place = file.read_bytes(), str(entry["place"])
        except (OSError, KeyError) as error:
            message = f"the root of the index `{name}` cannot be read"
            fix = "give it again: `dataflare index trust PLACE --root ROOT.json`"
            raise ConfigError.of("index.root", message, file=str(file), cause=str(error), fix=fix) from error
        found.append(Trusted(name, place, root, project / KEPT / name))
    return found


def some_indexes_of(project: Path) -> list[Trusted]:
    """As ``indexes_of``. Raises ConfigError ``index.none`` where the project trusts none."""
    found = indexes_of(project)
    if not found:
        message = "the project trusts no index"
        raise ConfigError.of("index.none", message, fix="name one: `dataflare index trust PLACE --root ROOT.json`")
    return found


def holder_of(indexes: Iterable[Trusted], plugin: str, pinned: str = "") -> tuple[Trusted, Listed]:
    """The one index that a plugin is had from. ``pinned``: the index that it was locked from.

    Raises ConfigError ``index.unknown``, NotTrusted ``index.two_indexes`` where several have it and none is pinned.
    """
    found = []
    for one in indexes:
        if pinned and one.name != pinned:
            continue
        try:
            found.append((one, one.plugin(plugin)))
        except ConfigError as error:
            if error.code != "index.unknown":
                raise
    if not found:
        where = f"`{pinned}`" if pinned else "no index that the project trusts"
        message = f"{where} has no plugin `{plugin}`" if pinned else f"{where} has the plugin `{plugin}`"
        raise ConfigError.of("index.unknown", message, fix="look what there is: `dataflare plugin search`")
    if len(found) > 1:
        have = " and ".join(f"`{one.name}`" for one, _ in found)
        message = f"{have} both have a plugin `{plugin}`: one of them may be somebody else's"
        fix = f'say which one it is had from: index = "{found[0][0].name}" in [plugins.{plugin}]'
        raise NotTrusted.of("index.two_indexes", message, fix=fix, details={"attack": "squatted_name"})
    return found[0]


def _name_of(place: str, root: bytes, project: Path) -> str:
    raw = Client(place, root, project / KEPT / ".new").raw("index.json")
    try:
        name = json.loads(raw)["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError.of("index.none", f"{place} holds no index", cause=str(error)) from error
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")[:40] or "main"
