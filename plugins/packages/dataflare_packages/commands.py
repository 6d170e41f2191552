"""``plugin lock | sync | upgrade``: the versions that a project's flows use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare import Command, field
from dataflare_host.cli.output import styled, tell

Json = Any
PROJECT = "The folder of the flows; if not given, this one."
GRANT = "Grant what the plugins ask for."
ACCEPT = "Accept this plugin's changes, also of its publisher; may be given several times."


class Lock(Command, name="plugin.lock", group="plugin"):
    """Find versions that go together for a project's plugins.toml, and write them into dataflare.lock.

    What is locked stays while it fits. Exit code 3: no versions go together; 4: an index is not to be trusted; 5: a
    permission or a publisher waits to be accepted.
    """

    project: Path = field(default=Path(), help=PROJECT)
    grant: bool = field(default=False, help=GRANT)
    accept: list[str] = field(default=[], help=ACCEPT)

    def call(self, host: Any) -> Json:
        """``{"lock", "written", "changes", "plugins"}``. Raises NoSolution, NotTrusted, NotAccepted, ConfigError."""
        from dataflare_packages.accepting import Consent
        from dataflare_packages.changing import lock

        consent = Consent(self.grant, self.accept)
        answer: Json = host.change("plugin.lock", str(self.project), lambda: lock(self.project, host, consent))
        return answer

    def show(self, answer: Json) -> str:
        """The changes, a line each."""
        return changes_of(answer) or f"{answer['lock']} is as it was"


class Sync(Command, name="plugin.sync", group="plugin"):
    """Install what dataflare.lock says, each file checked; until all is there, the old set is in use."""

    project: Path = field(default=Path(), help=PROJECT)
    locked: bool = field(default=False, help="Never look for versions; refuse where set and lock disagree.")
    offline: bool = field(default=False, help="Ask no index: what is not in the cache is missing.")
    grant: bool = field(default=False, help=GRANT)
    accept: list[str] = field(default=[], help=ACCEPT)

    def call(self, host: Any) -> Json:
        """``{"installed", "kept", "removed"}``. Raises ConfigError ``lock.…``, NotTrusted."""
        from dataflare_packages.accepting import Consent
        from dataflare_packages.changing import sync

        consent = Consent(self.grant, self.accept)
        work = lambda: sync(self.project, host, locked=self.locked, offline=self.offline, consent=consent)  # noqa: E731
        done = host.change("plugin.sync", str(self.project), work)
        return {key: list(value) for key, value in vars(done).items()}

    def show(self, answer: Json) -> str:
        """What changed."""
        lines = [f"{word}: {', '.join(answer[word])}" for word in ("installed", "removed") if answer[word]]
        return "\n".join(lines) or f"all {len(answer['kept'])} plugins are as locked"


class Upgrade(Command, name="plugin.upgrade", group="plugin"):
    """Take the newest versions that go together: of NAMES, or of all that is locked. `plugin sync` installs them.

    A release that asks for more, or that somebody else published, stops it with exit code 5 until that is accepted.
    """

    project: Path = field(default=Path(), help=PROJECT)
    plan: bool = field(default=False, help="Only say what would change.")
    grant: bool = field(default=False, help=GRANT)
    accept: list[str] = field(default=[], help=ACCEPT)

    def call(self, host: Any, names: list[str] = []) -> Json:  # noqa: B006
        """``{"changes", "waits"}`` of a plan, else as ``plugin lock``. Raises as that does."""
        from dataflare_packages.accepting import Consent
        from dataflare_packages.changing import upgrade

        consent = Consent(self.grant, self.accept)

        def work() -> Json:
            return upgrade(self.project, host, names, plan=self.plan, consent=consent)

        return work() if self.plan else host.change("plugin.upgrade", str(self.project), work)

    def show(self, answer: Json) -> str:
        """The changes, a line each."""
        if answer.get("plan"):
            tell("nothing was written: this is a plan")
        return changes_of(answer) or "there is nothing newer that goes together"


def changes_of(answer: Json) -> str:
    """Each plugin whose version changes, a line."""
    lines = []
    for each in answer["changes"]:
        lines.append(f"{styled(each['plugin'], bold=True)}  {each['from'] or '(new)'} → {each['to'] or '(gone)'}")
    return "\n".join(lines)
