"""How plugins of each language are built, described and tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from dataflare_author.folder import Folder

Json = Any


class Builder(Protocol):
    """What the commands need of a language; one module each."""

    def check(self, folder: Folder) -> None:
        """Are the tools there? Raises ConfigError: ``author.tool_missing``, ``author.tool_old``."""

    def compile(self, folder: Folder, stage: Path) -> None:
        """Put the plugin's code into ``stage``, its package to be. Raises Failed ``author.build``."""

    def describe(self, folder: Folder, stage: Path) -> Described:
        """What the plugin says of its components. Raises Failed ``author.describe``."""

    def metadata(self, folder: Folder) -> dict[str, Any]:
        """Headers of the wheel's METADATA beyond name, version, summary and license."""

    def test(self, folder: Folder, words: tuple[str, ...]) -> int:
        """Run the author's tests, told on the standard streams; the exit code. ``words`` go to the test runner."""


class Described:
    """An answer to ``describe``, and where the manifest's table says that each component is."""

    def __init__(self, answer: dict[str, Json], targets: dict[tuple[str, str], Json]) -> None:
        self.answer = answer
        self.targets = targets


def builder_of(folder: Folder) -> Builder:
    """What builds a plugin, by the language of its folder."""
    if folder.language == "go":
        from dataflare_author.languages.go import Go

        return Go()
    if folder.language == "js":
        from dataflare_author.languages.node import Node

        return Node()
    from dataflare_author.languages.python import Python

    return Python()
