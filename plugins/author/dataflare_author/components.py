"""What a build says of a plugin's components: ``components.json``, and the tables of its manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import tomlkit

from dataflare.errors import Failed

if TYPE_CHECKING:
    from dataflare_author.folder import Folder
    from dataflare_author.languages import Described

TABLE = "components.json"
"""A plugin's answer to ``describe``, in its package: so no guest is started to know its components."""


def components_file(described: Described) -> bytes:
    """The content of ``components.json``."""
    return (json.dumps(described.answer, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def with_tables(manifest: str, described: Described) -> str:
    """The text of a manifest with the tables ``components`` and ``summaries`` of what was described."""
    document = tomlkit.parse(manifest)
    for section in ("components", "summaries"):
        document.pop(section, None)
    tables = {"components": tomlkit.table(is_super_table=True), "summaries": tomlkit.table(is_super_table=True)}
    for told in sorted(described.answer["components"], key=lambda told: (told["kind"], told["name"])):
        kind, name = told["kind"], told["name"]
        values = {"components": described.targets[kind, name], "summaries": told.get("summary") or ""}
        for section, value in values.items():
            table = tables[section]
            if kind not in table:
                table[kind] = tomlkit.table()
            table[kind][name] = value  # type: ignore[index]
    for section, table in tables.items():
        document[section] = table
    return tomlkit.dumps(document)


def check_described(folder: Folder, described: Described) -> None:
    """Is there something to use? Raises Failed ``author.describe``."""
    answer: dict[str, Any] = described.answer
    error = answer.get("error")
    if error or not answer.get("components"):
        cause = error["message"] if error else None
        what = "does not say what it holds" if error else "holds no component"
        fix = "see the cause" if error else "declare at least one source, processor, sink or tool"
        message = f"`{folder.manifest.id}` {what}"
        raise Failed.of("author.describe", message, cause=cause, file=str(folder.path), fix=fix)
