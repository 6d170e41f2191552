"""``env ensure | prune``: the environments of locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare import Command, field

Json = Any


class Ensure(Command, name="env.ensure"):
    """Make the environments that a plan needs by its lock, in a folder, and nothing else; what is there stays.

    PLAN is what `run --plan-only` or `plan --json` printed, or a flow file, for all that its lock has. No plugin has to
    be installed; what they need of other distributions is taken from this machine where it is, each file by its digest.
    """

    project: Path | None = field(default=None, help="The folder of the lock; by default the plan's own.")

    def call(self, host: Any, plan: Path, to: Path) -> Json:
        """``{"lock", "environments": [{"plugin", "kind", "pylock", "folder", "python", "made"}]}``.

        Raises ConfigError ``lock.…``, ``worker.environment``.
        """
        from dataflare_packages.ensuring import ensure

        work = lambda: ensure(plan, to.absolute(), self.project)  # noqa: E731
        return host.change("env.ensure", str(to), work)

    def show(self, answer: Json) -> str:
        """A line an environment."""
        lines = [
            f"{each['plugin'] or 'inline'}  {'made' if each['made'] else 'was there'}  {each['folder']}"
            for each in answer["environments"]
        ]
        return "\n".join(lines) or "the lock needs no environment but this interpreter"


class Prune(Command, name="env.prune"):
    """Delete the environments that no process uses now, nor has used for some time; a sync makes them again."""

    unused: str = field(default="30d", help="How long nobody has used them.")

    def call(self, host: Any) -> Json:
        """``{"deleted"}``. Raises ConfigError."""
        from dataflare.types import parse_duration
        from dataflare_worker.environments import Environments

        seconds, environments = parse_duration(self.unused), Environments()
        work = lambda: environments.prune(seconds)  # noqa: E731
        return {"deleted": host.change("env.prune", str(environments.folder), work)}

    def show(self, answer: Json) -> str:
        """How many."""
        return f"{len(answer['deleted'])} environments were deleted"
