"""``index init | add | yank | advise | revoke-key | refresh | rotate-keys | verify | mirror | trust | serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from dataflare import Command, field
from dataflare_host.cli.output import as_text, show_problems, tell

Json = Any


class Init(Command, name="index.init"):
    """Begin an index in a folder, and make its signing keys beside it."""

    def call(
        self, dir: Path, *, name: str = field(default="", help="What the index is called; if not given, as its folder.")
    ) -> Json:
        """``{"index", "name", "keys", "root"}``. Raises ConfigError ``index.exists``, ``index.keys_exist``."""
        from dataflare_index.publishing import init

        return init(dir, name or dir.absolute().name)

    def show(self, answer: Json) -> str:
        """Where things are, and what to do with the keys."""
        return as_text(answer) + "\n\nTake the root keys to a machine without a network. Clients trust the file `root`."


class Add(Command, name="index.add"):
    """Publish wheels of plugins in an index."""

    with_deps: bool = field(default=False, help="With all that they need of others, so that pip needs one index only.")
    deps_from: list[str] = field(
        default=[], help="A folder of wheels or the address of an index to take that from; else where uv takes it."
    )
    platform: list[str] = field(
        default=[], help="Of others only wheels with this in their platform tag: win_amd64, x86_64; else all."
    )
    python: list[str] = field(default=[], help="Of others only wheels for this version of Python, 3.12; else all.")
    seen: list[str] = field(default=[], help="A file of the wheels that looks like a secret and is none.")

    def call(self, dir: Path, wheels: list[Path]) -> Json:
        """``{"added", "known", "snapshot"}``: all wheels or none. Raises ConfigError ``index.…``, NotTrusted."""
        from dataflare_index.closure import Wanted
        from dataflare_index.publishing import add

        deps = Wanted(self.deps_from, self.platform, self.python) if self.with_deps else None
        return add(dir, wheels, deps=deps, seen=self.seen)


class Yank(Command, name="index.yank"):
    """Mark a release as not to be chosen any more; those who hold or name it still get it."""

    def call(
        self, dir: Path, name: str, version: str, *, reason: str = field(default="", help="Why; clients show it.")
    ) -> Json:
        """``{"yanked", "reason", "snapshot"}``. Raises ConfigError ``index.unknown``."""
        from dataflare_index.publishing import yank

        return yank(dir, name, version, reason or "yanked")


class Advise(Command, name="index.advise"):
    """Warn of the releases of a plugin in a range, `<1.2.1` or `*`, also of those that come later.

    `plugin audit` tells those who have them; what is malware is not chosen by anybody any more.
    """

    reason: str = field(default="", help="What happens, to whom, and what to do; clients show it.")
    withdraw: bool = field(default=False, help="Take back what was said of just this range and kind.")

    def call(
        self,
        dir: Path,
        name: str,
        range: str,
        *,
        kind: Literal["malware", "vulnerability", "data_loss", "unmaintained"] = field(
            default="vulnerability", help="What is wrong with them."
        ),
    ) -> Json:
        """``{"plugin", "versions", "advisory", "snapshot"}``. Raises ConfigError ``index.…``."""
        from dataflare_index.advising import advise

        return advise(dir, name, range, kind, self.reason, withdraw=self.withdraw)


class RevokeKey(Command, name="index.revoke-key"):
    """Believe nothing of a publisher's key any more, from a snapshot on: it was stolen or lost.

    Its name may then be published by another key into the index's folder; those who have it locked are asked first.
    """

    since: int = field(default=0, help="The first snapshot that may be the thief's; if not given, the next.")
    reason: str = field(default="", help="Why; clients show it.")

    def call(self, dir: Path, name: str, keyid: str) -> Json:
        """``{"plugin", "keyid", "from", "releases", "snapshot"}``. Raises ConfigError ``index.…``."""
        from dataflare_index.advising import revoke

        return revoke(dir, name, keyid, self.since, self.reason)


class Refresh(Command, name="index.refresh"):
    """Sign an index anew before its signatures expire: the timestamp within a week."""

    def call(self, dir: Path) -> Json:
        """``{"snapshot"}``. Raises ConfigError ``index.none``, ``index.key``."""
        from dataflare_index.publishing import refresh

        return refresh(dir)


class RotateKeys(Command, name="index.rotate-keys"):
    """Give an index new keys, by the keys of its root: in time, or when the online ones were stolen.

    Clients follow from the root that they have. With --distrust-from N the index becomes what it was before snapshot N.
    """

    roots: bool = field(default=False, help="New keys for the root as well.")
    holders: Path | None = field(default=None, help="The folder of the root's keys, if not beside the index.")
    distrust_from: int = field(default=0, help="The first snapshot that the thief may have signed.")
    reason: str = field(default="", help="Why; clients show it.")

    def call(self, dir: Path) -> Json:
        """``{"root", "snapshot", "distrusted"}``. Raises ConfigError ``index.threshold``, ``index.snapshot``."""
        from dataflare_index.rotating import rotate

        return rotate(dir, roots=self.roots, holders=self.holders, distrust=self.distrust_from, reason=self.reason)


class Verify(Command, name="index.verify"):
    """Check an index as a client would: signatures, digests, nothing missing, nothing that nobody signed."""

    def call(self, dir: Path, *, root: Path | None = field(default=None, help="The root that is trusted.")) -> Json:
        """``{"ok", "problems"}``."""
        from dataflare_index.checking import verify

        problems = verify(dir, None if root is None else root.read_bytes())
        return {"ok": not problems, "problems": [problem.as_json() for problem in problems]}

    def show(self, answer: Json) -> str:
        """The problems go to stderr."""
        from dataflare import Problem

        show_problems(Problem.from_json(told) for told in answer["problems"])
        return "all that is published is as it was signed" if answer["ok"] else ""


class Mirror(Command, name="index.mirror"):
    """Copy an index, checking all that is copied."""

    def call(
        self, source: str, dir: Path, *, root: Path | None = field(default=None, help="The root that is trusted.")
    ) -> Json:
        """``{"index", "files", "copied", "snapshot"}``. Raises Failed ``index.not_trusted``, ``index.unreachable``."""
        from dataflare_index.checking import mirror

        return mirror(source, dir, None if root is None else root.read_bytes())


class Trust(Command, name="index.trust"):
    """Let a project have plugins from an index, by the root that its keepers gave out.

    The root is kept beside the flows and belongs into version control with them.
    """

    root: Path = field(help="The file of the root, from the index's keepers.")
    project: Path = field(default=Path(), help="The folder of the flows.")
    name: str = field(default="", help="What the project calls it; if not given, as it calls itself.")

    def call(self, place: str) -> Json:
        """``{"name", "place", "root", "snapshot"}``. Raises ConfigError ``index.…``, Failed ``index.…``."""
        from dataflare_index.trusted import ROOTS, read_root, trust

        one = trust(self.project, place, read_root(self.root), self.name)
        file = self.project / ROOTS / f"{one.name}.root.json"
        return {"name": one.name, "place": one.place, "root": str(file), "snapshot": one.snapshot()}


class Serve(Command, name="index.serve"):
    """Serve an index on this machine, for tests and for a look."""

    token_file: Path | None = field(default=None, help="Take what `plugin publish` sends with one of these tokens.")

    def call(
        self, host: Any, dir: Path, *, port: int = field(default=8765, help="On 127.0.0.1; 0: any that is free.")
    ) -> Json:
        """Serves until it is interrupted. Raises ConfigError ``publish.tokens``."""
        from dataflare_index.serving import server_of

        with server_of(dir, port, tokens=self.token_file, host=host) as server:
            tell(f"pip install --index-url http://127.0.0.1:{server.server_address[1]}/simple/ dataflare-NAME")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                return {"served": str(dir)}
        return {"served": str(dir)}


class Search(Command, name="plugin.search", group="plugin"):
    """Look for plugins by words in the indexes that a project trusts, in one of them, or in any other index.

    All words have to be in a plugin's name, its summary or its components' names.
    """

    project: Path = field(default=Path(), help="The folder of the flows, whose indexes are searched.")
    index: str = field(
        default="",
        help="A trusted index by its name; or a folder or an address, whose signatures are not checked.",
    )
    limit: int = field(default=50, help="So many at most.")

    def call(self, words: list[str]) -> Json:
        """``{"plugins": [{"name", "version", "summary", "runtime", "components", "index"}], "found"}``."""
        from dataflare_index.searching import matching, read
        from dataflare_index.trusted import indexes_of, some_indexes_of

        trusted = indexes_of(self.project) if self.index else some_indexes_of(self.project)
        chosen = [one for one in trusted if self.index in ("", one.name, one.place)]
        held = [(one.name, one.search()) for one in chosen] or [(self.index, read(self.index))]
        found = [{**line, "index": name} for name, lines in held for line in matching(lines.values(), words)]
        return {"plugins": found[: self.limit], "found": len(found)}

    def show(self, answer: Json) -> str:
        """A line a plugin."""
        lines = [f"{each['name']} {each['version']}  {each['summary']}" for each in answer["plugins"]]
        more = answer["found"] - len(lines)
        return "\n".join([*lines, *([f"and {more} more"] if more else [])]) or "nothing has all of these words"
