"""``dataflare.lock`` beside the flows: which versions of plugins they use, by digest, from whom, and with what rights.

The same lock is always the same bytes, one fact a line, so that a change of it can be read in a review.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from dataflare.errors import ConfigError
from dataflare_author import whole

Json = Any
FILE = "dataflare.lock"
FORMAT = 1
_HEAD = "made by `dataflare plugin lock` from plugins.toml: change that, not this"


@dataclass(frozen=True)
class LockedFile:
    """One wheel of a release."""

    name: str
    sha256: str
    size: int = 0


@dataclass(frozen=True)
class Source:
    """An index that the lock was made from, and the number of its snapshot then."""

    place: str
    snapshot: int


@dataclass(frozen=True)
class Locked:
    """One plugin. ``index`` is empty where it was added from a file; ``files``: the wheels of all platforms.

    ``publisher``: ``identity``, ``keyid``; ``grants``: what was accepted. ``requires``: package → range. ``needs``:
    what a plugin in Python requires of others; ``pylock``: the digest of the file that fixes it, where the plugin runs
    in a worker.
    """

    version: str
    index: str = ""
    runtime: str = ""
    isolation: str = ""
    manifest: str = ""
    publisher: Mapping[str, str] = field(default_factory=dict)
    requires: Mapping[str, str] = field(default_factory=dict)
    grants: Mapping[str, list[dict[str, Json]]] = field(default_factory=dict)
    files: tuple[LockedFile, ...] = ()
    needs: tuple[str, ...] = ()
    pylock: str = ""


@dataclass(frozen=True)
class Lock:
    """A whole lock. ``wanted``: package → range, as the set said; ``host``: what of this interpreter's own is used.

    ``inline``: the digest of the file that fixes what the plugins need which run in the host's own process.
    """

    wanted: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, Source] = field(default_factory=dict)
    plugins: Mapping[str, Locked] = field(default_factory=dict)
    host: Mapping[str, str] = field(default_factory=dict)
    inline: str = ""

    def text(self) -> str:
        """The file's text."""
        document = tomlkit.document()
        document.add(tomlkit.comment(_HEAD))
        document["format"] = FORMAT
        if self.inline:
            document["inline"] = self.inline
        for title, facts in (("wanted", self.wanted), ("host", self.host)):
            if facts:
                document[title] = dict(sorted(facts.items()))
        for title, listed in (("indexes", self.indexes), ("plugins", self.plugins)):
            if listed:
                outer = tomlkit.table(is_super_table=True)
                for name in sorted(listed):
                    outer[name] = _table(vars(listed[name]))
                document[title] = outer
        return tomlkit.dumps(document)

    def pylocks(self) -> dict[str, str]:
        """The digest of each pylock, by the plugin whose environment it fixes; ``""``: the host's own process."""
        told = {name: each.pylock for name, each in self.plugins.items()}
        return {name: digest for name, digest in {**told, "": self.inline}.items() if digest}

    def digest(self) -> str:
        """``sha256:…`` of the text."""
        return digest_of(self.text().encode())

    def write(self, project: Path) -> bool:
        """Write it beside the flows, whole or not at all; False where exactly it is there already."""
        file, text = project / FILE, self.text()
        if file.exists() and file.read_text("utf-8") == text:
            return False
        whole.write(file, text.encode())
        return True


def read_lock(project: Path) -> Lock | None:
    """The lock of a project; None where it has none. Raises ConfigError ``lock.syntax``."""
    file = project / FILE
    try:
        return lock_of(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        fix = "take the file from version control, or make it anew by `dataflare plugin lock`"
        message = f"`{FILE}` cannot be read"
        raise ConfigError.of("lock.syntax", message, cause=str(error), file=str(file), fix=fix) from error


def lock_of(text: str) -> Lock:
    """The lock that a text says. Raises ValueError, TypeError, KeyError for anything else."""
    given = tomllib.loads(text)
    if given["format"] != FORMAT:
        raise ValueError(f"its format is {given['format']}, and {FORMAT} is known here")
    plugins = {}
    for name, told in given.get("plugins", {}).items():
        files = tuple(LockedFile(**each) for each in told.pop("files", ()))
        plugins[name] = Locked(**{**told, "needs": tuple(told.get("needs", ()))}, files=files)
    indexes = {name: Source(**told) for name, told in given.get("indexes", {}).items()}
    return Lock(given.get("wanted", {}), indexes, plugins, given.get("host", {}), given.get("inline", ""))


def digest_of(content: bytes) -> str:
    """``sha256:…``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _table(facts: Mapping[str, Json]) -> Json:
    table = tomlkit.table()
    for key, value in facts.items():
        if value not in ("", {}, (), None):
            table[key] = _item([vars(each) for each in value] if key == "files" else value)
    return table


def _item(value: Json) -> Json:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key in sorted(value):
            table[key] = _item(value[key])
        return table
    if isinstance(value, (list, tuple)):
        array = tomlkit.array()
        array.multiline(any(isinstance(each, Mapping) for each in value))
        array.extend(_item(each) for each in value)
        return array
    return value
