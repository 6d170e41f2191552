"""The tree of the plugins' commands: known by the manifests; each is imported when it is used."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

import click

from dataflare.errors import ConfigError
from dataflare_host.cli.process import starting, the_host

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from dataflare.component import Command
    from dataflare_host.app import Host
    from dataflare_host.registry import Entry


class LazyGroup(click.Group):
    """The commands whose dotted names (``flow.stop``) begin with ``prefix``."""

    def __init__(self, prefix: str = "", **options: Any) -> None:
        super().__init__(no_args_is_help=False, **options)
        self.prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return [name for name, _ in self._summaries()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now; of several plugins that have one, none wins.

        Raises ConfigError ``plugin.command_conflict``.
        """
        whole = f"{self.prefix}{name}"
        group = LazyGroup(f"{whole}.", name=name)
        if members := group.list_commands(ctx):
            group.help = _group_help(members)
            return group
        entries = _commands().get(whole, ())
        if len(entries) > 1:
            who = " and ".join(f"`{entry.plugin}`" for entry in entries)
            fix = "uninstall all but one of them"
            raise ConfigError.of("plugin.command_conflict", f"{who} both have a command `{whole}`", fix=fix)
        from dataflare_host.cli import contributed

        return contributed.click_command(cast("type[Command]", entries[0].load())) if entries else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help lines, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(self._summaries())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes names without importing a command."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in self._summaries() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one is refused with the nearest name."""
        name, *rest = args
        with starting():
            found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            from dataflare.declare import nearest

            near = nearest(name, self.list_commands(ctx))
            ctx.fail(f"there is no command `{name}`" + (f"; did you mean `{near}`?" if near else ""))
        return name if found else None, found, rest

    def _summaries(self) -> list[tuple[str, str]]:
        """The commands of this group, and the groups in it, with their help lines."""
        found: dict[str, str] = {}
        groups: dict[str, list[str]] = {}
        for name, entries in _commands().items():
            head, dot, rest = name.removeprefix(self.prefix).partition(".")
            if name.startswith(self.prefix) and dot:
                groups.setdefault(head, []).append(rest)
            elif name.startswith(self.prefix):
                found[head] = entries[0].summary
        return sorted(({name: _group_help(members) for name, members in groups.items()} | found).items())


def _commands() -> dict[str, list[Entry]]:
    return _commands_of(the_host())


@cache
def _commands_of(host: Host) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in host.table().entries("command", loading=False):
        found.setdefault(entry.name, []).append(entry)
    return found


def _group_help(members: list[str]) -> str:
    return f"Commands: {', '.join(sorted(members))}."
