"""Bare files as plugins (``uses: ./shop.py/numbers``), and how code that cannot be loaded is told."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dataflare.declare import component_class, components_in
from dataflare.errors import ConfigError, DataflareError, Problem

if TYPE_CHECKING:
    from dataflare.component import Component

Classes = Mapping[tuple[str, str], type["Component"]]
"""Component classes by kind and name."""
_FILES = threading.RLock()


def by_name(classes: Iterable[Any]) -> dict[tuple[str, str], type[Component]]:
    """Classes and decorated functions by kind and name."""
    found = [made for made in map(component_class, classes) if made is not None]
    return {(made.spec.kind, made.spec.name): made for made in found}


def load_file(path: Path) -> ModuleType:
    """The module of a bare file, under a name of its own; the same content is run once.

    Raises ConfigError: ``plugin.file_missing``, ``plugin.file_unreadable``, ``plugin.file_failed`` with file and line.
    """
    import hashlib

    path = path.resolve()
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError.of("plugin.file_missing", f"there is no file `{path}`", fix="check the path") from None
    except OSError as error:
        raise ConfigError.of("plugin.file_unreadable", f"`{path}` cannot be read", cause=str(error)) from error
    # By content, not by time stamp: an edit within the clock's grain must not go unseen.
    digest = hashlib.sha256(bytes(path) + b"\0" + source).hexdigest()
    name = f"dataflare_file_{digest[:16]}"
    with _FILES:
        if name in sys.modules:
            return sys.modules[name]
        module = ModuleType(name)
        module.__file__ = str(path)
        module.__dict__["__version__"] = f"0+{hashlib.sha256(source).hexdigest()[:12]}"
        sys.modules[name] = module
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, (Exception, SystemExit)):
                raise
            raise load_failed("plugin.file_failed", f"`{path.name}` cannot be loaded", error, str(path)) from error
    return module


def classes_of_file(path: Path) -> Classes:
    """The components that a bare file defines."""
    return by_name(components_in(load_file(path)))


def load_failed(code: str, message: str, error: BaseException, file: str | None = None) -> ConfigError:
    """The error of code that could not be loaded, at the last line that ran (in ``file``, where given)."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file in (None, frame.filename)]
    spot: dict[str, Any] = {"file": file}
    if isinstance(error, SyntaxError):
        spot = {"file": error.filename, "line": error.lineno, "column": error.offset}
    elif frames:
        spot = {"file": frames[-1].filename, "line": frames[-1].lineno}
    if isinstance(error, DataflareError):
        return ConfigError(*(problem if problem.file else problem.at(**spot) for problem in error.problems))
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return ConfigError(Problem(code, message, cause=cause, fix="mend that line, then try again", **spot))
