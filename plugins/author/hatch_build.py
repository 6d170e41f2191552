"""Puts the SDKs for Go and JavaScript into the wheel: ``plugin new`` copies them into new plugins."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Sdks(BuildHookInterface):  # type: ignore[misc,type-arg]
    """Adds the files that ``sdks.py`` names; an editable install finds them in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built."""
        if version == "editable":
            return
        here = Path(self.root)
        spec = importlib.util.spec_from_file_location("sdks", here / "dataflare_author" / "sdks.py")
        assert spec is not None
        assert spec.loader is not None
        sdks = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sdks)
        for name, place in sdks.PLACES.items():
            root = (here / ".." / ".." / place).resolve()
            for file in sdks.sdk_files(root):
                build_data["force_include"][str(root / file)] = f"dataflare_author/sdks/{name}/{file.as_posix()}"
