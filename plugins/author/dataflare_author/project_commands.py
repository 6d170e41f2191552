"""``plugin add | remove``: the plugins that a project's flows may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataflare import Command, ConfigError, field
from dataflare_author.adding import Isolation
from dataflare_host.cli.output import styled, tell

Json = Any
_PROJECT = "The folder of the flows that may use it."


class Add(Command, name="plugin.add", group="plugin"):
    """Let the flows of a project use a plugin: a wheel, or a plugin's folder, which is built first.

    Says what the plugin asks for, and stops there with exit code 1 unless --grant accepts it. What was accepted once is
    not asked again. A plugin in Python runs in a process and an environment of its own; --isolation inline puts it into
    the host's.
    """

    project: Path = field(help=_PROJECT)
    isolation: Isolation | None = field(default=None, help="For plugins in Python: worker unless said otherwise.")
    grant: bool = field(default=False, help="Accept what the plugin asks for.")

    def call(self, host: Any, path_or_name: str) -> Json:
        """``{"ok", "plugin", "version", "components", "asks", "isolation", "folder", …}``. Raises ConfigError."""
        from dataflare_author.adding import add

        wheel = _wheel(path_or_name, host)
        work = lambda: add(wheel, self.project, self.isolation, self.grant, host)  # noqa: E731
        added = host.change("plugin.add", f"{path_or_name} to {self.project}", work)
        return {"ok": added.granted, **asdict(added)}

    def show(self, answer: Json) -> str:
        """What was added; what is asked for goes to stderr."""
        for note in answer["notes"]:
            tell(note)
        name = f"{answer['plugin']} {answer['version']}"
        if answer["asks"]:
            tell(f"{name} asks for:")
            for rule in answer["asks"]:
                tell(f"  {_rule(rule)}")
        if not answer["granted"]:
            tell("nothing was added; give --grant to accept this")
            return ""
        lines = [f"{styled(name, bold=True)}  {answer['isolation']}  {answer['folder']}"]
        return "\n".join([*lines, *(f"  {component}" for component in answer["components"])])


class Remove(Command, name="plugin.remove", group="plugin"):
    """Take a plugin out of a project."""

    project: Path = field(help=_PROJECT)

    def call(self, host: Any, name: str) -> Json:
        """``{"plugin"}``. Raises ConfigError ``author.not_in_set``."""
        from dataflare.declare import did_you_mean, normalise
        from dataflare_author.project_set import ProjectSet

        known, plugin = ProjectSet(self.project), normalise(name)
        if known.entry(plugin) is None:
            fix = did_you_mean(name, known.names(), f"see `{known.file}`")
            raise ConfigError.of("author.not_in_set", f"`{name}` is not a plugin of `{self.project}`", fix=fix)
        host.change("plugin.remove", f"{plugin} from {self.project}", lambda: known.drop(plugin))
        return {"plugin": plugin}


def _wheel(given: str, host: Any) -> Path:
    """The wheel that is meant; a folder is built. Raises ConfigError: ``author.no_index``, ``author.installed``."""
    path = Path(given)
    if path.is_dir():
        from dataflare_author.building import build
        from dataflare_author.folder import folder_at

        return build(folder_at(path), host).wheel
    if path.is_file() or path.suffix == ".whl":
        return path
    from dataflare.declare import normalise

    if normalise(given) in host.table().plugins:
        message = f"`{given}` is installed in this environment: all flows can use it already"
        raise ConfigError.of("author.installed", message, fix="name it in a flow; there is nothing to add")
    message = f"there is no file or folder `{given}`, and no index where plugins could be looked up by name"
    fix = "name a wheel, or the folder of a plugin"
    raise ConfigError.of("author.no_index", message, fix=fix)


def _rule(rule: Mapping[str, Json]) -> str:
    words = ", ".join(f"{key} {_text(value)}" for key, value in rule.items() if key not in ("permission", "reason"))
    return f"{rule['permission']}{'  ' if words else ''}{words}: {rule['reason']}"


def _text(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
