"""``index site``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare import Command, field

Json = Any


class Site(Command, name="index.site"):
    """Make static pages of an index: a search in the browser, and a page a plugin."""

    def call(
        self, dir: Path, *, to: Path | None = field(default=None, help="Where; if not given, `site` in the index.")
    ) -> Json:
        """``{"site", "plugins", "written"}``: only what changed is written. Raises ConfigError ``index.none``."""
        from dataflare_site.pages import make

        return make(dir, to or dir / "site")
