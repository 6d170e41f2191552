"""A group of commands that imports a command when it is used, and knows its help line without."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Located = tuple[str, str]
"""Where a command is (``module:object``), and its help line."""


class LazyGroup(click.Group):
    """Commands by name and place. With ``contributed``, plugins add commands and groups of commands to it.

    What the host has under a name wins over a plugin.
    """

    def __init__(
        self,
        *,
        commands: Mapping[str, Located],
        groups: Mapping[str, tuple[str, Mapping[str, Located]]] | None = None,
        prefix: str = "",
        contributed: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(no_args_is_help=False, **options)
        self.located = dict(commands)
        self.groups = dict(groups or {})
        self.prefix = prefix
        self.contributed = contributed
        if not prefix:
            text = "Show the traceback of an internal error."
            self.params += [click.Option(["--debug"], is_flag=True, expose_value=False, help=text), _version_option()]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return sorted({name for name, _ in self._summaries()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if name in self.located:
            module, _, attribute = self.located[name][0].partition(":")
            found: click.Command = getattr(importlib.import_module(module), attribute)
            return found
        if name in self.groups:
            text, commands = self.groups[name]
            return LazyGroup(name=name, help=text, commands=commands, prefix=f"{name}.", contributed=self.contributed)
        return self._contributed_command(name) if self.contributed else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help lines, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self._summaries()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes names without importing a command."""
        from click.shell_completion import CompletionItem

        known = [(name, text) for name, text in sorted(self._summaries()) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=text) for name, text in known]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one is refused with the nearest name."""
        name, *rest = args
        found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            near = get_close_matches(name, self.list_commands(ctx), 1)
            ctx.fail(f"there is no command `{name}`" + (f"; did you mean `{near[0]}`?" if near else ""))
        return name if found else None, found, rest

    def _summaries(self) -> list[tuple[str, str]]:
        own = {name: text for name, (_, text) in self.located.items()}
        own |= {name: text for name, (text, _) in self.groups.items()}
        if self.contributed:
            from dataflare_host.cli.contributed import summaries

            own = summaries(self.prefix) | own
        return list(own.items())

    def _contributed_command(self, name: str) -> click.Command | None:
        from dataflare_host.cli import contributed

        if not self.prefix and (members := contributed.summaries(f"{name}.")):
            text = contributed.group_help(members)
            return LazyGroup(name=name, help=text, commands={}, prefix=f"{name}.", contributed=True)
        return contributed.command(f"{self.prefix}{name}")


def _version_option() -> click.Option:
    def show(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
        if wanted:
            from importlib.metadata import version

            click.echo(f"dataflare {version('dataflare-host')}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=show, help="Show the version."
    )
