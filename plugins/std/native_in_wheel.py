"""Compiles the parser of JSON lines (``native/json_lines.c``) into the wheel, where this machine can.

The machine's C compiler is taken, else the one of the package ``ziglang``. Where neither works, or with
``DATAFLARE_STD_NATIVE=none``, the wheel goes without, and JSON lines are read as correctly, but slower.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "native/json_lines.c"
LIBRARY = "dataflare_std/native/json_lines.so"
ZIG = "ziglang>=0.13,<1"


class NativeInWheel(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling before it writes a wheel."""

    def dependencies(self) -> list[str]:
        """A compiler, where the machine has none."""
        return [] if _own_compiler() or not _wanted() else [ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the library as a file of the wheel; an editable one gets it into its folder."""
        if not _wanted():
            return
        editable = version == "editable"
        library = Path(self.root, LIBRARY) if editable else Path(tempfile.mkdtemp(), Path(LIBRARY).name)
        try:
            library.parent.mkdir(exist_ok=True)
            compile_to(library, Path(self.root, SOURCE))
        except (OSError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", None) or str(error)
            self.app.display_warning(f"std goes without its fast parser of JSON lines: {told.strip()[-800:]}")
            return
        if not editable:
            build_data["force_include"][str(library)] = LIBRARY
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"


def compile_to(library: Path, source: Path) -> None:
    """Compile a source file to a shared library, whole or not at all."""
    aside = library.with_name(f".{library.name}.{os.getpid()}")
    words = ["-std=gnu11", "-O3", "-shared", "-fPIC", "-o", str(aside), str(source)]
    try:
        subprocess.run([*_compiler(), *words], check=True, capture_output=True, text=True, timeout=300)
        aside.replace(library)
    finally:
        aside.unlink(missing_ok=True)


def _wanted() -> bool:
    return os.environ.get("DATAFLARE_STD_NATIVE") != "none"


def _own_compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _compiler() -> list[str]:
    own = _own_compiler()
    # Zig would compile for this very processor; a wheel may be carried to another one.
    return [own] if own else [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"]
