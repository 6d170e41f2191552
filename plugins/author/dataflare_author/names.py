"""The names that a plugin goes by, all made from its id."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataflare.errors import ConfigError

_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60
"""Characters of an id: file systems bound the names made from it."""


@dataclass(frozen=True)
class Names:
    """A plugin's id, ``acme-geo``, and what follows from it."""

    id: str

    @property
    def distribution(self) -> str:
        """``dataflare-acme-geo``."""
        return f"dataflare-{self.id}"

    @property
    def package(self) -> str:
        """``dataflare_acme_geo``: the package in its wheel, which holds its manifest."""
        return self.distribution.replace("-", "_")

    def wheel(self, version: str) -> str:
        """``dataflare_acme_geo-0.1.0-py3-none-any.whl``."""
        return f"{self.package}-{version}-py3-none-any.whl"


def new_names(given: str) -> Names:
    """The names of a new plugin. Raises ConfigError ``author.name`` for what cannot be an id."""
    if _ID.fullmatch(given) and len(given) <= LONGEST:
        return Names(given)
    better = re.sub(r"[^a-z0-9]+", "-", given.lower()).strip("-")[:LONGEST].strip("-")
    better = better.lstrip("0123456789-") or "my-plugin"
    raise ConfigError.of(
        "author.name",
        f"`{given}` cannot be the name of a plugin",
        cause="it stands in flows, folders and packages: small letters, digits and single dashes, a letter first, "
        f"at most {LONGEST} characters",
        fix=f"write `{better}`",
    )
