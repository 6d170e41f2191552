"""``plugin reload``: another version of one plugin for a running flow."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare import Command, ConfigError, DataflareError, Problem, field

if TYPE_CHECKING:
    from dataflare_host.control import Line

Json = Any
TIMEOUT = 120.0
"""Seconds in which a new version has proved itself, or not."""
UNKNOWN = ("run.no_answer", "run.not_running")
"""Codes of failures that say nothing of what became of the new version."""
REFUSED = {"outcome": "refused", "pause_ms": 0.0, "replayed": 0}


class Swap(Command, name="plugin.reload"):
    """Let a running flow go on with another version of a plugin: tried beside first, taken back if it fails.

    NAME is taken as its set has it now. NAME@VERSION is taken from the lock, from what is unpacked, or from the indexes
    that the flow's folder trusts; set and lock are as before where it does not stay. The new version is planned, takes
    over the state on a copy and is run on recent batches; then it takes over at a barrier. Until the next epoch is
    committed the old version comes back by itself. Exit code 1: it did not stay; 3, 4, 5: as of `plugin add`.
    """

    grant: bool = field(default=False, help="Accept what the version asks for.")

    def call(self, host: Any, flow: Path, plugin: str) -> Json:
        """``{"ok", "outcome": kept | rolled_back | refused, "reason", "problem", "pause_ms", "replayed"}``.

        ``plugin`` is ``NAME`` or ``NAME@VERSION``, or a bare file as the flow names it. Raises ConfigError
        ``run.not_running``, and with the same words what has an exit code of its own.
        """
        from dataflare.declare import normalise

        given, _, version = plugin.partition("@")
        name = given if given.endswith(".py") else normalise(given)
        args = {"plugin": name, "version": version or None}
        with host.runner(flow) as line:
            line.patience(TIMEOUT)
            try:
                work = lambda: self._asked(line, name, version, flow.absolute().parent, host)  # noqa: E731
                told = host.change("plugin.reload", name, work, args)
            except DataflareError as error:
                if error.code in UNKNOWN:
                    raise
                told = {**REFUSED, "problem": error.problems[0].as_json()}
                if error.exit_code > 2:
                    raise _refused(error) from error
        reason = (told["problem"] or {}).get("message")
        return {"ok": told["outcome"] == "kept", **told, "reason": reason}

    def show(self, answer: Json) -> str:
        """How it went, why, and for how long the flow stood still."""
        lines = [f"{answer['outcome'].replace('_', ' ')}  the flow stood still for {answer['pause_ms']:g} ms"]
        if answer["problem"] is not None:
            lines.append(Problem.from_json(answer["problem"]).render())
        return "\n".join(lines)

    def _asked(self, line: Line, name: str, version: str, project: Path, host: Any) -> Json:
        """What the flow answers; the project has the version meanwhile, and keeps it if the flow does."""
        taken = self._taken(name, version, project, host) if version else None
        try:
            told = line.ask("swap", {"plugin": name, "version": version or None})
        except DataflareError as error:
            if taken is not None and error.code not in UNKNOWN:
                taken.undo()
            raise
        if taken is not None and told["outcome"] != "kept":
            taken.undo()
        return told

    def _taken(self, name: str, version: str, project: Path, host: Any) -> Any:
        """The version is in the project now; None where it was before, or nothing here can bring it."""
        with suppress(ConfigError):  # the flow says what is wrong with its set
            host.enter(project)
        held = host.table().plugins.get(name)
        if (held is not None and held.version == version) or "packages" not in host.table().plugins:
            return None
        from dataflare_packages.taking import take

        return take(name, version, project, host, grant=self.grant)


def _refused(error: DataflareError) -> DataflareError:
    """The same error, which scripts read like an answer."""
    first, *others = error.problems
    told = {**(first.details or {}), **REFUSED, "reason": first.message}
    return type(error)(replace(first, details=told), *others)
