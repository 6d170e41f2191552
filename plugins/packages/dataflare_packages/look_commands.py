"""``plugin why | tree | outdated | audit``: looking at a lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare import Command, field
from dataflare_packages.commands import PROJECT

Json = Any


class Why(Command, name="plugin.why", group="plugin"):
    """Say by which demands a plugin came into the lock, and what it may do."""

    project: Path = field(default=Path(), help=PROJECT)

    def call(self, name: str) -> Json:
        """``{"plugin", "version", "index", "publisher", "grants", "chains"}``. Raises ConfigError ``lock.unknown``."""
        from dataflare_packages.looking import why

        return why(name, self.project)

    def show(self, answer: Json) -> str:
        """A line a way."""
        lines = [f"{answer['plugin']} {answer['version']}  {answer['index'] or 'of this host or a file'}"]
        for chain in answer["chains"]:
            steps = [f"{link['plugin'] or 'the set'} needs {link['needs']} {link['wanted']}".rstrip() for link in chain]
            lines.append("  " + " → ".join(steps))
        return "\n".join(lines)


class Tree(Command, name="plugin.tree", group="plugin"):
    """Show what is locked as a tree of what needs what."""

    project: Path = field(default=Path(), help=PROJECT)

    def call(self) -> Json:
        """``{"roots": [{"plugin", "version", "wanted", "needs"}]}``. Raises ConfigError ``lock.none``."""
        from dataflare_packages.looking import tree

        return tree(self.project)

    def show(self, answer: Json) -> str:
        """The tree, indented."""
        lines: list[str] = []

        def grow(branches: Json, depth: int) -> None:
            for each in branches:
                more = " (again)" if each.get("cycle") else ""
                lines.append(f"{'  ' * depth}{each['plugin']} {each['version']}  {each['wanted']}{more}".rstrip())
                grow(each["needs"], depth + 1)

        grow(answer["roots"], 0)
        return "\n".join(lines)


class Outdated(Command, name="plugin.outdated", group="plugin"):
    """Show which locked plugins have newer releases."""

    project: Path = field(default=Path(), help=PROJECT)

    def call(self, host: Any) -> Json:
        """``{"outdated": [{"plugin", "locked", "newest", "within"}]}``."""
        from dataflare_packages.looking import outdated

        return outdated(self.project, host)


class Audit(Command, name="plugin.audit", group="plugin"):
    """Check what is locked and installed: yanked, with advisories, changed, damaged. Exit code 1 if there is any."""

    project: Path = field(default=Path(), help=PROJECT)

    def call(self, host: Any) -> Json:
        """``{"ok", "findings", "checked"}``. Raises NotTrusted, ConfigError."""
        from dataflare_packages.looking import audit

        return audit(self.project, host)

    def show(self, answer: Json) -> str:
        """A line a finding."""
        lines = [f"{each['plugin'] or 'the set'}  {each['finding']}  {each['message']}" for each in answer["findings"]]
        return "\n".join(lines) or f"nothing is wrong with {len(answer['checked'])} plugins"
