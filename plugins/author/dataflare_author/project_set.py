"""The plugins of a project: ``plugins.toml`` beside its flows, and what is unpacked below ``.dataflare/plugins``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable, Table

from dataflare.errors import ConfigError
from dataflare_author import whole

Json = Any
FILE = "plugins.toml"
PLUGINS = "plugins"
FOLDER = Path(".dataflare", "plugins")


class ProjectSet:
    """Reads and changes the set of one project; other entries and comments stay as they are."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.file = project / FILE

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One change at a time: two that read the same set would write over each other."""
        import fcntl

        folder = self.project / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it with the process
            yield

    def entry(self, name: str, table: str = PLUGINS) -> dict[str, Json] | None:
        """What the set says of a plugin, or in another table. Raises ConfigError ``author.set``."""
        return self.entries(table).get(name)

    def entries(self, table: str = PLUGINS) -> dict[str, dict[str, Json]]:
        """What the set says of all its plugins, or in another table. Raises ConfigError ``author.set``."""
        told = _plain(self._read().get(table, {}))
        for name, each in told.items() if isinstance(told, dict) else [(table, told)]:
            if not isinstance(each, dict):
                message = f"`{name}` of `{FILE}` is no table"
                fix = f'write `[{table}.{name}]`, and below it `version = ">=1,<2"` or the like'
                raise ConfigError.of("author.set", message, file=str(self.file), pointer=f"/{table}", fix=fix)
        return dict(told)

    def names(self, table: str = PLUGINS) -> list[str]:
        """The plugins of the set, or what another table has."""
        return list(self._read().get(table, {}))

    def table(self, name: str) -> dict[str, Json]:
        """A whole table of the set; empty where it has none. Raises ConfigError ``author.set``."""
        found = self._read().get(name, {})
        return dict(found.unwrap()) if isinstance(found, Table) else {}

    def put(self, name: str, entry: Mapping[str, Json], table: str = PLUGINS) -> None:
        """Write an entry in place of the one there was."""

        def change(entries: Table) -> None:
            known = entries.get(name)
            held = known if isinstance(known, Table) else tomlkit.table()
            for key in [key for key in held if key not in entry]:
                del held[key]
            for key, value in entry.items():
                if key not in held or _plain(held[key]) != value:
                    held[key] = _item(value)
            if known is None:
                entries[name] = held

        self._change(change, table)

    def drop(self, plugin: str) -> None:
        """Take a plugin out, and delete what was unpacked of it."""
        with self.changing():
            self._change(lambda plugins: plugins.pop(plugin, None) and None)
            shutil.rmtree(self.project / FOLDER / plugin, ignore_errors=True)

    def _change(self, change: Callable[[Table], None], table: str = PLUGINS) -> None:
        document = self._read()
        if table not in document:
            document[table] = tomlkit.table(is_super_table=True)
        change(document[table])  # type: ignore[arg-type]
        text = tomlkit.dumps(document)
        if self.file.exists() and self.file.read_text("utf-8") == text:
            return
        whole.write(self.file, text.encode())

    def _read(self) -> tomlkit.TOMLDocument:
        try:
            return tomlkit.parse(self.file.read_text("utf-8"))
        except FileNotFoundError:
            return tomlkit.document()
        except (OSError, TOMLKitError, UnicodeDecodeError) as error:
            message = f"`{FILE}` cannot be read: {error}"
            fix = "correct the line that is named, or remove the file and add the plugins again"
            raise ConfigError.of("author.set", message, file=str(self.file), fix=fix) from error


def _plain(item: Any) -> Json:
    return item.unwrap() if hasattr(item, "unwrap") else item


def _item(value: Json) -> Any:
    """A value with its tables written on one line."""
    if isinstance(value, Mapping):
        table: InlineTable = tomlkit.inline_table()
        for key, each in value.items():
            table[key] = _item(each)
        return table
    if isinstance(value, (list, tuple)):
        array = tomlkit.array()
        for each in value:
            array.append(_item(each))
        return array
    return value
