"""Makes the pages that come from the code: ``python docs/build.py``. With ``--check`` it only says which are old."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reference

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PLUGINS = ("flow", "std", "state", "standalone", "pipeline", "commands", "broker", "verify")
KINDS = ("source", "processor", "sink", "tool", "store", "layer", "keyring", "mode", "engine", "broker", "command")


def generated() -> dict[Path, str]:
    """Path → text of every page that is made."""
    made = {DOCS / "reference" / name: text for name, text in reference.pages(ROOT).items()}
    return {DOCS / "components.md": components_page(), **made}


def components_page() -> str:
    """Every component that comes with DataFlare, with its configuration."""
    from dataflare_host import Host

    parts = ["# Components", "Made from the code by `docs/build.py`. `dataflare plugin info NAME` shows the same."]
    with Host.start() as host:
        entries = [entry for entry in host.table().entries() if entry.plugin in PLUGINS]
        for kind in KINDS:
            for entry in sorted((e for e in entries if e.kind == kind and e.plugin != ""), key=lambda e: e.uses):
                parts += _component(entry)
    return "\n\n".join(parts) + "\n"


def _component(entry: Any) -> Iterator[str]:
    from dataflare.fields import fields_of, input_fields_of

    made = entry.load()
    name = f"dataflare {entry.name.replace('.', ' ')}" if entry.kind == "command" else entry.uses
    yield f"## `{name}` ({entry.kind})"
    yield made.spec.doc.replace("``", "`")
    usual = made.abilities
    declared = [f"`{key}`: {_value(value)}" for key, value in sorted(made.spec.declared.items()) if value != usual[key]]
    if declared and entry.kind in ("source", "processor", "sink", "store", "mode"):
        yield "Declares " + ", ".join(declared) + "."
    if entry.kind == "command":
        yield from _own_options(made)
        yield from _table("argument", input_fields_of(made))
        options = {f"--{name.strip('_')}": field for name, field in fields_of(made).items()}
        yield from _table("option", options)
        return
    if entry.kind == "tool":
        yield from _table("input", input_fields_of(made))
    yield from _table("field", fields_of(made))


def _own_options(made: Any) -> Iterator[str]:
    """The options of a command that has a line of its own."""
    if made.line is None:
        return
    options = [option for option in made.line.params if option.param_type_name == "option"]
    rows = [f"| `{' '.join(option.opts)}` | {option.help or ''} |" for option in options]
    yield "\n".join(["| option | |", "|---|---|", *rows])


def _value(value: Any) -> str:
    words = {True: "yes", False: "no"}
    return words.get(value, str(value)) if not isinstance(value, (tuple, list)) else ", ".join(value)


def _table(word: str, fields: Any) -> Iterator[str]:
    if not fields:
        return
    rows = [f"| {word} | type | default | |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if field.required else _default(field)
        told = field.help + (" (advanced)" if field.advanced else "")
        rows.append(f"| `{name}` | {_type(field)} | {default} | {told.replace('|', chr(92) + '|')} |")
    yield "\n".join(rows)


def _default(field: Any) -> str:
    import json

    if field.default is None or field.default == ():
        return ""
    if _words(field.annotation) == "bytes" and field.default % (1 << 20) == 0:
        return f"`{field.default >> 20}MiB`"
    return f"`{json.dumps(field.default, ensure_ascii=False, default=str)}`"


def _type(field: Any) -> str:
    """The type as a flow writes it."""
    if field.choices is not None and not callable(field.choices):
        return " \\| ".join(f"`{choice}`" for choice in field.choices)
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    import types
    import typing

    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return str(getattr(args[1], "name", _words(args[0])))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(arg) for arg in args if arg is not type(None))
    if origin is typing.Literal:
        return " \\| ".join(f"`{arg}`" for arg in args)
    if origin in (list, tuple):
        return f"list of {_words(args[0])}"
    if origin is dict:
        return f"{_words(args[0])} → {_words(args[1])}"
    plain = {str: "text", int: "number", float: "number", bool: "true or false", typing.Any: "any"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that are not up to date (exit code 1)."""
    old = [path for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in old:
            print(f"{path.relative_to(ROOT)} is not up to date: run `python docs/build.py`")
        return 1 if old else 0
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
