"""``plugin lock | sync | upgrade``: the versions that a project's flows use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataflare import Command, field
from dataflare_host.cli.output import emit, json_option, styled, tell
from dataflare_host.cli.process import the_host

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
        """``{"lock", "written", "changes", "environments", "plugins"}``.

        Raises NoSolution, NotTrusted, NotAccepted, ConfigError.
        """
        from dataflare_packages.accepting import Consent
        from dataflare_packages.changing import lock

        consent = Consent(self.grant, self.accept)
        answer: Json = host.change("plugin.lock", str(self.project), lambda: lock(self.project, host, consent))
        return answer

    def show(self, answer: Json) -> str:
        """The changes, a line each."""
        return changes_of(answer) or f"{answer['lock']} is as it was"


@click.command(name="sync")
@click.option("--project", type=click.Path(path_type=Path), default=Path(), help=PROJECT)
@click.option("--locked", is_flag=True, help="Never look for versions; refuse where set and lock disagree.")
@click.option("--offline", is_flag=True, help="Ask no index: what is not in the cache is missing.")
@click.option("--grant", is_flag=True, help=GRANT)
@click.option("--accept", multiple=True, help=ACCEPT)
@json_option
def sync(project: Path, locked: bool, offline: bool, grant: bool, accept: tuple[str, ...], as_json: bool) -> None:
    """Install what dataflare.lock says, each file checked; until all is there, the old set is in use."""
    from dataflare_packages.accepting import Consent
    from dataflare_packages.changing import sync

    host, consent = the_host(), Consent(grant, accept)
    work = lambda: sync(project, host, locked=locked, offline=offline, consent=consent)  # noqa: E731
    done = host.change("plugin.sync", str(project), work)
    if as_json:
        emit({key: list(value) for key, value in vars(done).items()})
        return
    lines = [f"{word}: {', '.join(names)}" for word, names in vars(done).items() if names and word != "kept"]
    click.echo("\n".join(lines) or f"all {len(done.kept)} plugins are as locked")


class Sync(Command, name="plugin.sync", group="plugin"):
    """Install what dataflare.lock says, each file checked; until all is there, the old set is in use."""

    line = sync


class Upgrade(Command, name="plugin.upgrade", group="plugin"):
    """Take the newest versions that go together: of NAMES, or of all that is locked. `plugin sync` installs them.

    A release that asks for more, or that somebody else published, stops it with exit code 5 until that is accepted.
    """

    project: Path = field(default=Path(), help=PROJECT)
    plan: bool = field(default=False, help="Only say what would change.")
    grant: bool = field(default=False, help=GRANT)
    accept: list[str] = field(default=[], help=ACCEPT)

    def call(self, host: Any, names: list[str] = []) -> Json:  # noqa: B006
        """``{"changes", "differences", "waits"}`` of a plan, else as ``plugin lock``. Raises as that does."""
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
    """Each plugin whose version changes, a line, and below it what changes for those who use it; new pylocks."""
    lines = []
    for each in answer["changes"]:
        lines.append(f"{styled(each['plugin'], bold=True)}  {each['from'] or '(new)'} → {each['to'] or '(gone)'}")
        for one in answer.get("differences", {}).get(each["plugin"], ()):
            lines.append(f"  {one['weight']:5}  {one['what']} {one['place']}: {one['words']}")
    for name in answer.get("environments", ()):
        lines.append(f"what {styled(name, bold=True) if name else 'the inline plugins'} needs of others is locked anew")
    return "\n".join(lines)
