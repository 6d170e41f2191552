"""``plugin new | build | test``: a plugin from nothing to a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from dataflare import Command
from dataflare_author.scaffold import Kind, Language
from dataflare_host.cli.output import emit, json_option, styled
from dataflare_host.cli.process import the_host

Json = Any


@click.command(name="new")
@click.argument("name")
@click.option("--lang", type=click.Choice(get_args(Language)), required=True, help="The language to write it in.")
@click.option("--kind", type=click.Choice(get_args(Kind)), required=True, help="The kind of component it begins with.")
@click.option("--dir", "within", type=click.Path(path_type=Path), default=Path(), help="Where the folder is made.")
@json_option
def new(name: str, lang: Language, kind: Kind, within: Path, as_json: bool) -> None:
    """Make the folder NAME of a new plugin, with a component that works, its tests and its manifest."""
    from dataflare_author.names import new_names
    from dataflare_author.scaffold import scaffold

    made = scaffold(new_names(name), lang, kind, within)
    if as_json:
        emit({"folder": str(made.folder), "uses": made.uses, "files": list(made.files)})
        return
    click.echo(styled(str(made.folder), bold=True))
    for file in made.files:
        if not file.startswith("sdk"):
            click.echo(f"  {file}")
    click.echo("next, in that folder: dataflare plugin test, build, verify; README.md says the rest")


class New(Command, name="plugin.new", group="plugin"):
    """Make the folder of a new plugin, with a component that works, its tests and its manifest."""

    line = new


class Build(Command, name="plugin.build", group="plugin"):
    """Build a plugin's wheel into the folder `dist` of each PATH (default: the current folder)."""

    def call(self, host: Any, path: tuple[Path, ...] = ()) -> Json:
        """``{"wheels": [{"wheel", "digest", "size", "components"}]}``. Raises ConfigError, Failed: ``author.…``."""
        from dataflare_author.building import build
        from dataflare_author.folder import folder_at

        wheels = []
        for folder in [folder_at(each) for each in path or (Path(),)]:
            built = build(folder, host)
            told = {"wheel": str(built.wheel), "digest": built.digest, "size": built.size}
            wheels.append({**told, "components": list(built.components)})
        return {"wheels": wheels}

    def show(self, answer: Json) -> str:
        """A line a wheel, and its components below."""
        lines = []
        for each in answer["wheels"]:
            lines.append(f"{styled(each['wheel'], bold=True)}  {each['size']:,} bytes  {each['digest'][:19]}")
            lines += [f"  {component}" for component in each["components"]]
        return "\n".join(lines)


@click.command(name="test", context_settings={"ignore_unknown_options": True})
@click.argument("path", type=click.Path(path_type=Path), default=Path())
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@json_option
def test(path: Path, words: tuple[str, ...], as_json: bool) -> int:
    """Run the author's tests of the plugin in PATH (default: the current folder).

    In the language's own way: pytest, `go test`, `node --test`. WORDS go to that runner. The exit code is the runner's.
    """
    from dataflare_author.folder import folder_at
    from dataflare_author.languages import builder_of

    folder = folder_at(path)
    builder = builder_of(folder)
    builder.check(folder)
    code = the_host().change("plugin.test", folder.manifest.id, lambda: builder.test(folder, words))
    if as_json:
        emit({"ok": code == 0, "plugin": folder.manifest.id, "code": code})
    return code


class Test(Command, name="plugin.test", group="plugin"):
    """Run the author's tests of a plugin."""

    line = test
