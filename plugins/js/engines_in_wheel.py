"""Puts the JavaScript engines into the wheel, where this machine can build them, and what else they are built from.

They are built into the user's cache, so a second wheel takes them from there. Without Node.js, without a registry or
with ``DATAFLARE_JS_ENGINES=none`` the wheel has none; the loader says then how to get them.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EnginesInWheel(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling before it writes a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the engines as files of the wheel; an editable one has none, the loader looks into the cache."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        try:
            from dataflare_js.build import ENGINES, PACKED_SDK, SDK, build, cached, sdk_files
        finally:
            sys.path.remove(self.root)
        packed = PACKED_SDK.relative_to(self.root).as_posix()
        build_data["force_include"] |= {str(SDK / file): f"{packed}/{file.as_posix()}" for file in sdk_files()}
        if os.environ.get("DATAFLARE_JS_ENGINES") == "none":
            return
        for name in ENGINES:
            if not cached(name).exists():
                if not shutil.which("npm"):
                    self.app.display_warning(f"no Node.js here: the wheel has no JavaScript engine `{name}`")
                    continue
                try:
                    build(name)
                except Exception as error:
                    self.app.display_warning(f"the wheel has no JavaScript engine `{name}`: {error}")
                    continue
            build_data["force_include"][str(Path(cached(name)))] = f"dataflare_js/engines/{name}.wasm"
