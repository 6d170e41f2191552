"""A plugin's manifest, ``dataflare.toml``: what it is, contributes and asks for, known without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dataflare.guest import MINORS

Json = Any
FILE = "dataflare.toml"
CONTRACT = MINORS[-1]
"""The version of the plugin contract that this host speaks; guests of older ones go on by adapters."""
VERSION = "1.0.0"


@dataclass(frozen=True)
class Manifest:
    """What one plugin says of itself.

    ``components``: kind → name → ``module:object`` (``{"uses", "with"}`` where the runtime is declarative, anything
    its loader understands where it is another); None: the code has to be asked. ``kinds``: kind → its base class.
    ``hooks``: names without prefix, implemented in ``hooks_module``. ``api`` and ``host`` are the versions it needs.
    """

    id: str
    version: str
    summary: str
    runtime: str
    file: str
    package: str = ""
    entry: str = ""
    license: str = ""
    api: str = ""
    host: str = ""
    features: tuple[str, ...] = ()
    components: Mapping[str, Mapping[str, Json]] | None = None
    summaries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()
    hooks_module: str = ""
    defaults: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    dependencies: Mapping[str, str] = field(default_factory=dict)
    permissions: Mapping[str, tuple[Mapping[str, Json], ...]] = field(default_factory=dict)
    limits: Mapping[str, Json] = field(default_factory=dict)
    deprecations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    isolation: str = ""
    """Of a Python plugin in a set: ``worker`` or ``inline``."""
    unverified: bool = False
    """Does nobody vouch for it?"""

    @property
    def loader(self) -> str:
        """What loads it: ``python`` imports it here, ``declarative`` needs no code, all else names a loader."""
        return "worker" if self.isolation == "worker" else self.runtime

    def as_json(self) -> dict[str, Json]:
        """The manifest as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Manifest:
        """The manifest that ``as_json`` wrote. Raises TypeError, KeyError for anything else."""
        rules = {word: tuple(listed) for word, listed in value["permissions"].items()}
        lists = {name: tuple(value[name]) for name in ("features", "hooks")}
        return cls(**{**value, **lists, "permissions": rules})
