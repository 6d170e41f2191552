"""Makes the folder of a new plugin from the templates of its language and kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dataflare.errors import ConfigError
from dataflare_author.names import Names
from dataflare_author.sdks import Sdk, copy_sdk

Language = Literal["python", "go", "js", "ts"]
Kind = Literal["source", "processor", "sink", "tool"]
TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".tmpl"
"""Of all templates, so that no tool takes one for a file of this tree."""
SDKS: Mapping[Language, Sdk] = {"go": "go", "js": "js", "ts": "js"}
"""Which SDK is copied into a plugin of a language."""
SHARED: Mapping[Language, tuple[str, ...]] = {"js": ("node",), "ts": ("node",)}
"""Templates of several languages, which come first."""
SUMMARIES: Mapping[Kind, str] = {
    "source": "A calendar as a table: a row a day, with weekday, week, month and quarter.",
    "processor": "Addresses of people: tidied, checked, and told apart by their domain.",
    "sink": "Rows as lines of JSON to a web address, a request a batch.",
    "tool": "Numbers in a few words: count, mean, spread, bounds and percentiles.",
}


@dataclass(frozen=True)
class Made:
    """The folder of a new plugin, and how a flow or the command line names its component."""

    folder: Path
    uses: str
    files: tuple[str, ...]


def scaffold(names: Names, language: Language, kind: Kind, within: Path) -> Made:
    """Make the folder of a plugin below ``within``. Raises ConfigError ``author.folder``."""
    folder = within / names.id
    _refuse_occupied(folder)
    words = _words(names, kind)
    made: list[str] = []
    for template, place in _templates(language, kind):
        target = folder / _filled(str(place), words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_filled(template.read_text("utf-8"), words), "utf-8")
        made.append(str(target.relative_to(folder)))
    if language in SDKS:
        made += [str(Path("sdk", place)) for place in copy_sdk(SDKS[language], folder / "sdk")]
    return Made(folder, f"{names.id}/{names.id}", tuple(sorted(made)))


def _refuse_occupied(folder: Path) -> None:
    place = {"file": str(folder)}
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            return
        if folder.exists() or folder.is_symlink():
            raise ConfigError.of(
                "author.folder",
                f"`{folder}` is there already",
                cause="nothing that somebody wrote is overwritten",
                fix="choose another name, name another place by --dir, or move it away",
                **place,
            )
        folder.mkdir(parents=True)
    except OSError as error:
        fix = "name a place by --dir that this user may write to"
        message = f"`{folder}` cannot be made"
        raise ConfigError.of("author.folder", message, cause=str(error), fix=fix, **place) from error


def _templates(language: Language, kind: Kind) -> Iterator[tuple[Path, Path]]:
    """Each template, and the place of its file in the plugin's folder."""
    for part in (*SHARED.get(language, ()), f"{language}/common", f"{language}/{kind}"):
        root = TEMPLATES / part
        for file in sorted(root.rglob(f"*{SUFFIX}")):
            yield file, file.relative_to(root).with_name(file.name.removesuffix(SUFFIX))


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _words(names: Names, kind: Kind) -> dict[str, str]:
    return {
        "__USE__\n": _use(kind),
        "__PERMISSIONS__\n": _PERMISSIONS.get(kind, "\n"),
        "__NAME__": names.id,
        "__PACKAGE__": names.package,
        "__DISTRIBUTION__": names.distribution,
        "__SUMMARY__": SUMMARIES[kind],
    }


def _use(kind: Kind) -> str:
    return {
        "source": "sources:\n  days: {uses: __NAME__/__NAME__, with: {first: 2026-01-01, last: 2026-12-31}}\n",
        "processor": "steps:\n  tidy: {uses: __NAME__/__NAME__, from: people, with: {blocked: [spam.example]}}\n",
        "sink": "sinks:\n  told: {uses: __NAME__/__NAME__, from: tidy, with: {url: http://127.0.0.1:8080/rows}}\n",
        "tool": "# dataflare tool call __NAME__/__NAME__ 'values=[4, 1, 3, 2]' 'percentiles=[50]'\n",
    }[kind]


_PERMISSIONS: Mapping[Kind, str] = {
    "sink": '\n[permissions]\nhttp = [{ host = "127.0.0.1", methods = ["POST"], reason = "sends the rows there" }]\n\n'
}
