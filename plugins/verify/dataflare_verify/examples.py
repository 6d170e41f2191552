"""What the components of a plugin are tried on: ``verify.toml`` beside the manifest, or a guess where it says nothing.

::

    [[source.lines]]                        # kind.name; several of one component are tried one after the other
    config = { path = "{folder}/app.log" }  # {folder}: a folder of its own for each try
    files = { "app.log" = "one\\ntwo\\n" }    # what is in it at first
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare import ConfigError

if TYPE_CHECKING:
    from dataflare.batch import Batch

Json = Any
FILE = "verify.toml"
KINDS = ("source", "processor", "sink", "tool")
_WORDS: dict[str, Any] = {
    "config": dict,
    "files": dict,
    "rows": (list, str),
    "types": dict,
    "older": list,
    "input": dict,
    "output": object,
    "http": list,
    "inputs": dict,
    "secrets": dict,
}


@dataclass(frozen=True)
class Answered:
    """What the other side of the HTTP broker answers to one request."""

    url: str
    method: str = "GET"
    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    when: str = ""
    """What must be in the body of the request."""


@dataclass(frozen=True)
class Older:
    """Values of one state as an older version of its component kept them."""

    version: int
    state: str
    values: list[Json]


@dataclass(frozen=True)
class Example:
    """One configuration of one component, and what it works on."""

    kind: str
    name: str
    config: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Path in the folder → content."""
    rows: Sequence[Mapping[str, Json]] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    """Column → Arrow type, where the rows alone do not tell."""
    older: tuple[Older, ...] = ()
    input: Mapping[str, Json] | None = None
    output: Json = None
    """What a tool must answer; None: anything."""
    http: tuple[Answered, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    guessed: bool = False

    @property
    def component(self) -> str:
        """``kind:name``."""
        return f"{self.kind}:{self.name}"

    @cached_property
    def batch(self) -> Batch:
        """The rows, in the types that are said."""
        from dataflare.batch import Batch
        from dataflare.type_names import type_named

        batch = Batch.of(list(self.rows))
        for column, kind in self.types.items():
            batch = batch.with_column(column, batch[column].cast(type_named(kind)))
        return batch

    def prepare(self, folder: Path) -> dict[str, Json]:
        """Put the files into a folder; the configuration for it."""
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, "utf-8")
        return self.placed(folder)

    def placed(self, folder: Path, given: Mapping[str, Json] | None = None) -> dict[str, Json]:
        """The configuration (or what is given) for a folder that was prepared before."""
        words = self.config if given is None else given
        return {name: _placed(value, folder) for name, value in words.items()}


def examples_of(folder: Path) -> list[Example]:
    """The examples of a plugin's package folder. Raises ConfigError ``verify.examples``, with the place."""
    file = folder / FILE
    if not file.exists():
        return []
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise wrong(file, "", f"not valid TOML: {error}") from error
    return list(_read(file, given))


def wrong(file: Path, pointer: str, message: str, fix: str | None = None) -> ConfigError:
    """The error of a file of examples."""
    return ConfigError.of("verify.examples", message, file=str(file), pointer=pointer, fix=fix)


def _read(file: Path, given: Mapping[str, Json]) -> Iterator[Example]:
    for kind, components in given.items():
        if kind not in KINDS or not isinstance(components, dict):
            raise wrong(file, f"/{kind}", f"`{kind}` is not a kind of component", f"kinds are {', '.join(KINDS)}")
        for name, told in components.items():
            each = told if isinstance(told, list) else [told]
            for number, example in enumerate(each):
                yield _one(file, f"/{kind}/{name}/{number}", kind, name, example)


def _one(file: Path, pointer: str, kind: str, name: str, told: Json) -> Example:
    from dataflare.declare import did_you_mean, normalise

    if not isinstance(told, dict):
        raise wrong(file, pointer, "an example is a table", f"write `[[{kind}.{name}]]`")
    for word, value in told.items():
        if word not in _WORDS:
            fix = did_you_mean(word, _WORDS, f"an example has {', '.join(_WORDS)}")
            raise wrong(file, f"{pointer}/{word}", f"`{word}` is not a word of an example", fix)
        if not isinstance(value, _WORDS[word]):
            raise wrong(file, f"{pointer}/{word}", f"`{word}` cannot be {value!r}")
    words = dict(told)
    try:
        rows = _rows(file.parent, words.pop("rows", []))
        http = tuple(Answered(**answer) for answer in words.pop("http", ()))
        older = tuple(Older(**each) for each in words.pop("older", ()))
        made = Example(kind, normalise(name), rows=rows, http=http, older=older, **words)
        if rows:
            made.batch  # noqa: B018
    except (TypeError, ValueError, KeyError, OSError, ConfigError) as error:
        raise wrong(file, pointer, f"the example cannot be read: {error}") from error
    return made


def _rows(folder: Path, given: Json) -> list[Mapping[str, Json]]:
    """Rows as they stand there, or those of a file of JSON lines beside it."""
    if isinstance(given, str):
        given = [json.loads(line) for line in (folder / given).read_text("utf-8").splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in given):
        raise ValueError("a row is a table of values")
    return list(given)


def _placed(value: Json, folder: Path) -> Json:
    if isinstance(value, str):
        return value.replace("{folder}", str(folder))
    if isinstance(value, Mapping):
        return {name: _placed(item, folder) for name, item in value.items()}
    return [_placed(item, folder) for item in value] if isinstance(value, list) else value
