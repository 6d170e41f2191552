"""``plugin diff``: two versions of a plugin side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare import Command, field
from dataflare_packages.commands import PROJECT

Json = Any


class Diff(Command, name="plugin.diff", group="plugin"):
    """Compare two versions of a plugin: configuration, permissions, state. Exit code 1: the number is not honest."""

    project: Path = field(default=Path(), help=PROJECT)

    def call(self, old: str, new: str) -> Json:
        """``{"plugin", "old", "new", "differences": [{"what", "place", "words", "weight"}], "needs", "says", "ok"}``.

        ``old``, ``new``: a wheel, a folder or NAME@VERSION. Raises ConfigError ``diff.…``, ``index.…``.
        """
        from dataflare_packages.differing import compare
        from dataflare_packages.surface import surface_of

        found = compare(surface_of(old, self.project), surface_of(new, self.project))
        return {
            "plugin": found.new.id,
            "old": found.old.version,
            "new": found.new.version,
            "differences": [each.as_json() for each in found.differences],
            "needs": found.needs,
            "says": found.says,
            "ok": found.honest,
        }

    def show(self, answer: Json) -> str:
        """A line a difference, the heaviest first, and a verdict."""
        order = ("major", "minor", "patch")
        told = sorted(answer["differences"], key=lambda each: order.index(each["weight"]))
        lines = [f"{each['weight']:5}  {each['what']} {each['place']}: {each['words']}" for each in told]
        says = f"{answer['old']} → {answer['new']}"
        if answer["ok"]:
            verdict = f"{says} says so" if told else f"{says}: nothing changed for those who use it"
        elif answer["needs"] is None:
            verdict = f"{says} goes back"
        else:
            verdict = f"{says} is not honest: these differences need a new {answer['needs']} number"
        return "\n".join([*lines, verdict])
