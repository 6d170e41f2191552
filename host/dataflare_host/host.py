"""The host's face towards modes, engines, loaders, services, commands and tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.store import Store
    from dataflare_host.kinds import Broker
    from dataflare_host.plan import Plan
    from dataflare_host.registry import Table


@dataclass(frozen=True)
class Principal:
    """Who asks: the local owner (``uid``), or a name with roles."""

    name: str
    uid: int | None = None
    roles: tuple[str, ...] = ("owner",)


@dataclass(frozen=True)
class Event:
    """Something that happened: versioned JSON with a sequence number."""

    kind: str
    flow: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    sequence: int = 0
    version: int = 1
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())


@dataclass(frozen=True)
class FlowStatus:
    """A flow: what is wanted, what is."""

    name: str
    desired: str = ""
    actual: str = ""
    owner: str = ""
    revision: int = 0
    pid: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class HostApi(Protocol):
    """What the host offers. Changes are authorised, then audited."""

    principal: Principal
    version: str

    def settings(self) -> dict[str, Any]:
        """What another process needs to have the same host, as JSON (``Host.like``)."""

    def plan(self, flow: Path | Mapping[str, Any], **options: Any) -> Plan:
        """Plan a flow file or a flow as a mapping. Raises ConfigError with every problem."""

    def component(self, uses: str, config: Mapping[str, Any], kind: str, base: Path | None = None) -> Component:
        """A configured component (``plugin/name``, ``./file.py/name`` from ``base`` on). Raises ConfigError."""

    def store(self, state: Mapping[str, Any], base: Path | None = None) -> Store:
        """The store of ``{"uses", "with", "layers"}``, its layers over it; not open yet. Raises ConfigError."""

    def step(self, plan: Plan, step: str, generation: int | None = None) -> Component:
        """A configured instance for a step of a plan, its secrets put in place (generation None: the newest)."""

    def former(self, plugin: str, version: str) -> int | None:
        """A generation with another version of a plugin, where that is unpacked yet; None where it is not."""

    def retire(self, generation: int) -> None:
        """Nobody uses the components of a generation any more."""

    def table(self, generation: int | None = None) -> Table:
        """The component factories of a generation (None: the newest)."""

    def enter(self, folder: Path) -> None:
        """Use the plugin set (``plugins.toml``) of a folder of flows beside what is installed. Raises ConfigError."""

    def grants(self, plugin: str) -> Mapping[str, list[dict[str, Any]]]:
        """What a plugin may do: permission word → rules."""

    def limits(self, plugin: str) -> Mapping[str, Any]:
        """What the operator says of how much a plugin may use."""

    def secret(self, name: str, step: str) -> str:
        """A secret's value. Raises PermissionDenied, ConfigError ``secret.unknown``."""

    def broker(self) -> Broker | None:
        """What reaches the outside for components; None where no plugin brings it."""

    def flows(self) -> list[FlowStatus]:
        """The flows known here: desired and actual state."""

    def command(self, flow: str, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """A command to a running flow."""

    def emit(self, event: Event) -> None:
        """Tell an event to everybody who listens."""

    def events(self, after: int) -> Iterator[Event]:
        """The events after a sequence number."""
