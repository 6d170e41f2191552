"""``plugin verify``: checks that a plugin does what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from dataflare import Command
from dataflare_host.cli.output import tell

Json = Any


class Verify(Command, name="plugin.verify", group="plugin"):
    """Check that a plugin does what it says of itself: a wheel, or a plugin's folder.

    The same cases for every language and isolation; `verify.toml` beside the manifest gives the components something
    to work on.
    """

    def call(
        self,
        path: list[str] | None = None,
        isolation: Literal["worker", "inline"] | None = None,
        only: str = "",
        thorough: bool = False,
    ) -> Json:
        """``{"ok", "cases", "failed", "left_out", "runtime", "isolation", …}``; ``path``: by default where you are."""
        from dataflare_verify.report import as_json
        from dataflare_verify.subject import opened
        from dataflare_verify.trying import outcomes

        with opened(Path(path[0] if path else "."), isolation) as subject:
            found = []
            for outcome in outcomes(subject, only, thorough):
                found.append(outcome)
                if not outcome.held:
                    tell(f"✗ {outcome.component}: {outcome.case}")
            return as_json(subject, found)

    def show(self, answer: Json) -> str:
        """The report."""
        from dataflare_verify.report import as_text

        return as_text(answer)
