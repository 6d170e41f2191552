"""``plugin add | remove``: the plugins that a project's flows may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataflare import Command, ConfigError, field
from dataflare_author.adding import Isolation
from dataflare_author.refusals import NotAccepted
from dataflare_host.cli.output import styled, tell
from dataflare_packages.accepting import Wait
from dataflare_packages.commands import changes_of

Json = Any
_PROJECT = "The folder of the flows that may use it."


class Add(Command, name="plugin.add", group="plugin"):
    """Let the flows of a project use a plugin: a wheel, a plugin's folder, which is built first, or a name.

    A name, or a name and a range, `geohash>=1.2`, is looked up in the indexes that the project trusts, and locked. Says
    what the plugin asks for, and stops there with exit code 5 unless --grant accepts it. What was accepted once is not
    asked again. A plugin in Python runs in a process and an environment of its own; --isolation inline puts it into the
    host's.
    """

    project: Path = field(default=Path(), help=_PROJECT)
    isolation: Isolation | None = field(default=None, help="For plugins in Python: worker unless said otherwise.")
    grant: bool = field(default=False, help="Accept what the plugin asks for.")

    def call(self, host: Any, path_or_name: str) -> Json:
        """``{"ok", "plugin", "version", …}``. Raises ConfigError, NotAccepted ``lock.not_accepted``."""
        from dataflare_author.adding import add

        target = f"{path_or_name} to {self.project}"
        wheel = _wheel(path_or_name, host)
        if wheel is None:
            return host.change("plugin.add", target, lambda: self._by_name(path_or_name, host))
        work = lambda: add(wheel, self.project, self.isolation, self.grant, host)  # noqa: E731
        added = host.change("plugin.add", target, work)
        if not added.granted:
            wait = Wait(added.plugin, added.version, "permissions", [dict(rule) for rule in added.asks])
            raise NotAccepted.of(
                "lock.not_accepted",
                f"`{added.plugin}` {added.version} asks for something",
                cause="\n".join(_rule(rule) for rule in added.asks),
                fix="give --grant to accept this",
                details={**asdict(added), "waits": [wait.as_json()]},
            )
        return {"ok": True, **asdict(added)}

    def _by_name(self, given: str, host: Any) -> Json:
        from packaging.requirements import InvalidRequirement, Requirement

        from dataflare.declare import normalise
        from dataflare_packages.accepting import Consent
        from dataflare_packages.changing import add

        try:
            wanted = Requirement(given)
        except InvalidRequirement as error:
            message = f"`{given}` is no file or folder, and no name of a plugin with a range"
            raise ConfigError.of("lock.name", message, cause=str(error), fix="write `geohash>=1.2`") from error
        name, consent = normalise(wanted.name), Consent(self.grant)
        return add(name, str(wanted.specifier), self.project, host, isolation=self.isolation or "", consent=consent)

    def show(self, answer: Json) -> str:
        """What was added; what is asked for goes to stderr."""
        if "notes" not in answer:
            return changes_of(answer) or f"{answer['plugin']} {answer['version']} was there already"
        for note in answer["notes"]:
            tell(note)
        name = f"{answer['plugin']} {answer['version']}"
        if answer["asks"]:
            tell(f"{name} asks for:")
            for rule in answer["asks"]:
                tell(f"  {_rule(rule)}")
        lines = [f"{styled(name, bold=True)}  {answer['isolation']}  {answer['folder']}"]
        return "\n".join([*lines, *(f"  {component}" for component in answer["components"])])


class Remove(Command, name="plugin.remove", group="plugin"):
    """Take a plugin out of a project."""

    project: Path = field(default=Path(), help=_PROJECT)

    def call(self, host: Any, name: str) -> Json:
        """``{"plugin"}``. Raises ConfigError ``author.not_in_set``."""
        from dataflare.declare import did_you_mean, normalise
        from dataflare_author.project_set import ProjectSet
        from dataflare_packages.changing import remove

        known, plugin = ProjectSet(self.project), normalise(name)
        if known.entry(plugin) is None:
            fix = did_you_mean(name, known.names(), f"see `{known.file}`")
            raise ConfigError.of("author.not_in_set", f"`{name}` is not a plugin of `{self.project}`", fix=fix)
        host.change("plugin.remove", f"{plugin} from {self.project}", lambda: remove(plugin, self.project, host))
        return {"plugin": plugin}


def _wheel(given: str, host: Any) -> Path | None:
    """The wheel that is meant; a folder is built; None for a name. Raises ConfigError ``author.installed``."""
    path = Path(given)
    if path.is_dir():
        from dataflare_author.building import build
        from dataflare_author.folder import folder_at

        return build(folder_at(path), host).wheel
    return path if path.is_file() or path.suffix == ".whl" or "/" in given else None


def _rule(rule: Mapping[str, Json]) -> str:
    words = ", ".join(f"{key} {_text(value)}" for key, value in rule.items() if key not in ("permission", "reason"))
    return f"{rule['permission']}{'  ' if words else ''}{words}: {rule['reason']}"


def _text(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
