"""``plugin dev``: a plugin that is worked on, in the flows of a project."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from dataflare import Command
from dataflare_author.developing import Round, changes, once
from dataflare_host.cli.errors import FAILED
from dataflare_host.cli.output import emit, json_option, show_problems, styled, tell
from dataflare_host.cli.process import the_host

Json = Any


@click.command(name="dev")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path())
@click.option("--project", type=click.Path(path_type=Path), required=True, help="The folder of the flows that use it.")
@click.option("--grant", is_flag=True, help="Accept what the plugin asks for, now and at each change.")
@json_option
def dev(path: Path, project: Path, grant: bool, as_json: bool) -> int:
    """Build the plugin in PATH, add it to a project, and do so again at each change, until interrupted.

    Flows that run in the project take the new version at a barrier, and lose or double no row; a version that fails
    is taken back. With --json each round is one line.
    """
    host = the_host()

    def round() -> Round:
        done = host.change("plugin.dev", f"{path} in {project}", lambda: once(path, project, grant, host))
        _tell(done, as_json)
        return done

    first = round()
    if first.added is not None and not first.added.granted:
        return FAILED
    if not as_json:
        tell(f"watching {path.absolute()}; interrupt to end")
    with suppress(KeyboardInterrupt):  # one that comes in the middle of a round, too
        for _ in changes(path.absolute()):
            round()
    return 0


class Dev(Command, name="plugin.dev", group="plugin"):
    """Build a plugin and hand it to the flows of a project, again at each change."""

    line = dev


def _tell(done: Round, as_json: bool) -> None:
    added = done.added
    if as_json:
        plugin = None if added is None else {"plugin": added.plugin, "digest": added.digest, "granted": added.granted}
        told = [problem.as_json() for problem in done.problems]
        emit({"ok": not told and bool(added and added.granted), "added": plugin, "flows": done.flows, "problems": told})
    elif added is not None and not added.granted:
        tell(f"{added.plugin} asks for more than was granted; give --grant to accept it:")
        for rule in added.asks:
            tell(f"  {rule['permission']}: {rule['reason']}")
    elif added is not None:
        flows = "".join(f"  {flow}: {told.replace('_', ' ')}" for flow, told in done.flows.items())
        click.echo(f"{styled(added.plugin, bold=True)} {added.version} {added.digest[:19]}{flows}")
    show_problems(done.problems)
