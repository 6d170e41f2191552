"""Run by a plugin's own interpreter: writes what its components are, as JSON, into a file.

``python told_by_python.py MODULE FILE``. Needs the SDK only.
"""

import importlib
import json
import sys
from pathlib import Path


def main(module: str, target: str) -> None:
    """Describe the components that a module holds, and say where each is defined."""
    from dataflare.declare import component_class
    from dataflare.guest import Frame, Guest

    loaded = importlib.import_module(module)
    named = [(name, component_class(value)) for name, value in vars(loaded).items() if not name.startswith("_")]
    package = module.partition(".")[0]
    found = {made: name for name, made in named if made is not None and made.__module__.partition(".")[0] == package}
    answer = Guest(list(found), lambda _: Frame({})).handle(Frame({"op": "describe"})).header
    targets = [[made.kind, made.spec.name, f"{module}:{name}"] for made, name in found.items()]
    Path(target).write_text(json.dumps({"answer": answer, "targets": targets}), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
