"""The tree of commands: each is imported when it is used, and its help line is known without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dataflare_host.cli.process import starting

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """The commands whose dotted names (``flow.stop``) begin with ``prefix``."""

    def __init__(self, prefix: str = "", **options: Any) -> None:
        super().__init__(no_args_is_help=False, **options)
        self.prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return [name for name, _ in self._summaries()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of this name, imported now."""
        whole = f"{self.prefix}{name}"
        group = LazyGroup(f"{whole}.", name=name)
        if members := group.list_commands(ctx):
            group.help = _group_help(members)
            return group
        from dataflare_host.cli import contributed

        return contributed.command(whole)

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
        from dataflare_host.cli import contributed

        found: dict[str, str] = {}
        groups: dict[str, list[str]] = {}
        for name, text in contributed.summaries().items():
            head, dot, rest = name.removeprefix(self.prefix).partition(".")
            if name.startswith(self.prefix) and dot:
                groups.setdefault(head, []).append(rest)
            elif name.startswith(self.prefix):
                found[head] = text
        return sorted(({name: _group_help(members) for name, members in groups.items()} | found).items())


def _group_help(members: list[str]) -> str:
    return f"Commands: {', '.join(sorted(members))}."
