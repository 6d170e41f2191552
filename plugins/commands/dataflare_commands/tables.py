"""``plugin check``: is what a plugin's manifest tells of its components true?"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from dataflare import Command, ConfigError, Problem
from dataflare.declare import components_in
from dataflare.loading import by_name
from dataflare_commands.plugins import installed
from dataflare_host.cli.output import show_problems
from dataflare_host.load import class_at, object_at
from dataflare_host.manifest import Manifest

Json = Any


class Check(Command, name="plugin.check", group="plugin"):
    """Say where a plugin's manifest and its code differ; all modules of the plugin are imported.

    Exit code: 0 they do not differ, 1 they do.
    """

    def call(self, host: Any, plugin: str) -> Json:
        """``{"ok", "plugin", "errors"}``. Raises ConfigError ``plugin.unknown``."""
        manifest = installed(host, plugin)
        problems = verify_table(manifest)
        return {"ok": not problems, "plugin": manifest.id, "errors": [problem.as_json() for problem in problems]}

    def show(self, answer: Json) -> str:
        """One line where all is well; else the differences, on stderr."""
        show_problems(Problem(**problem) for problem in answer["errors"])
        return f"{answer['plugin']}: ok" if answer["ok"] else ""


def verify_table(manifest: Manifest) -> list[Problem]:
    """Where a Python plugin's component table and its code differ; imports every module of the package."""
    table = {
        (kind, name): str(target)
        for kind, listed in (manifest.components or {}).items()
        for name, target in listed.items()
    }
    problems: list[Problem] = []

    def differ(message: str, kind: str, name: str) -> None:
        pointer = f"/components/{kind}/{name}"
        problems.append(Problem("plugin.table_differs", message, file=manifest.file, pointer=pointer))

    try:
        modules = _modules(manifest)
    except ConfigError as error:
        return list(error.problems)
    defined = by_name(made for module in modules for made in components_in(module))
    for kind, name in defined.keys() - table.keys():
        differ(f"the code has the {kind} `{name}`, the table does not", kind, name)
    for (kind, name), target in table.items():
        try:
            made = class_at(target, manifest, kind)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if made.spec.name != name:
            differ(f"`{target}` calls itself `{made.spec.name}`", kind, name)
        told = manifest.summaries.get(kind, {}).get(name)
        if told is not None and told != made.spec.summary:
            differ(f"the manifest says {told!r}, the code {made.spec.summary!r}", kind, name)
    return problems


def _modules(manifest: Manifest) -> list[ModuleType]:
    """All modules of a plugin's package, imported."""
    import pkgutil

    package = object_at(manifest.package, manifest)
    found = pkgutil.walk_packages(package.__path__, f"{manifest.package}.")
    return [package, *(object_at(each.name, manifest) for each in found)]
