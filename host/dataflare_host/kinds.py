"""The component kinds of the host's side: planner, engine, mode, loader, broker, service.

All are inline only. The host knows none of their implementations by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dataflare.component import Component
from dataflare.errors import Problem

if TYPE_CHECKING:
    from dataflare.context import ByteStream
    from dataflare.grants import Asker
    from dataflare.http import Http
    from dataflare_host.app import Host
    from dataflare_host.host import HostApi
    from dataflare_host.layout import Part
    from dataflare_host.manifest import Manifest
    from dataflare_host.plan import Plan


@dataclass(frozen=True)
class FlowHead:
    """What a flow file says of the flow as a whole. ``problems``: its mistakes, as far as they show without planning.

    ``state`` is the store it names (``{"uses", "with"}``), or None; ``base`` is where its relative paths start.
    """

    name: str
    base: Path
    state: Mapping[str, Any] | None = None
    problems: tuple[Problem, ...] = ()


class Planner(Component, kind="planner"):
    """Reads flows and makes plans of them. The plugin set says which one a host uses (``[defaults]``)."""

    def plan(self, flow: Any, host: Host, **options: Any) -> Plan:
        """The checked plan of a flow: a file, a mapping, or an object that the planner knows.

        ``mode`` and ``guarantee`` override what the flow says, ``check`` lets components try whether they could work
        now, ``base`` is where relative paths of a mapping start. Raises ConfigError with every problem.
        """
        raise NotImplementedError

    def head(self, file: Path) -> FlowHead:
        """What a flow file says of the flow as a whole. Raises ConfigError where it cannot be read at all."""
        raise NotImplementedError

    def placed(self, file: Path, problem: Problem) -> Problem:
        """A problem of a running flow with the place in its file that its pointer names, where that can be told."""
        return problem


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``status``: finished | stopped | failed."""

    status: str
    epoch: int = 0
    read: int = 0
    written: int = 0
    rejected: int = 0
    dropped: int = 0
    seconds: float = 0.0
    guarantee: str = ""
    problems: tuple[Problem, ...] = ()
    steps: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Step → read, written, rejected, dropped in this run."""
    rejects: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Step → code → rows rejected in this run."""
    nothing_new: bool = False
    """True where a finished flow was run again and there was nothing to read."""


class Budget:
    """Memory and CPU that a runner may use; both can be changed while it runs.

    ``memory`` is in bytes (None: no bound), ``cpu`` in cores. Component calls pass ``gate``.
    """

    def __init__(self, memory: int | None = None, cpu: float | None = None) -> None:
        self.memory = memory
        self.cpu = cpu
        self._listeners: list[Callable[[], None]] = []

    def set(self, memory: int | None, cpu: float | None) -> None:
        """Change the bounds, at any time."""
        self.memory, self.cpu = memory, cpu
        for listener in self._listeners:
            listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change."""
        self._listeners.append(listener)

    def gate(self) -> None:
        """Passed before each component call; a governor holds callers here."""


class Link(Protocol):
    """An ordered, bounded way for frames between two runners."""

    def send(self, frame: Any, timeout: float) -> None:
        """Send a frame; raises TimeoutError."""

    def receive(self, timeout: float) -> Any:
        """The next frame; raises TimeoutError."""


class Exchange(Protocol):
    """Makes links between runners."""

    address: str

    def dial(self, runner: str, address: str) -> Link:
        """A link to a runner."""

    def accept(self, timeout: float) -> tuple[str, Link]:
        """The next runner that dialled, and the link."""


class Runner(Protocol):
    """One part of a flow, running. It knows nothing of where it runs."""

    def run(self) -> Outcome:
        """Run to the end, to a stop or to a failure; called once."""

    def peers(self, alive: dict[str, str]) -> None:
        """The runners alive, by name and address; who is absent is dead."""

    def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """``status``, ``stop``, ``drain``, ``checkpoint``, ``edit``, ``replay``, ``swap``, ``tap``. From any thread."""


class Engine(Component, kind="engine"):
    """Runs parts of plans."""

    def runner(self, part: Part, host: HostApi, exchange: Exchange | None, budget: Budget) -> Runner:
        """A runner for this part."""
        raise NotImplementedError


class Mode(Component, kind="mode", abilities={"takeover": "host", "shares_files": True, "ships": False}):
    """Where a planned flow runs: placement, notices of death, links, and nothing else."""

    def check(self, *args: Any, **kwargs: Any) -> Iterable[Problem]:
        """``(plan, host)`` → reasons why this plan cannot run here."""
        return ()

    def run(self, plan: Plan, host: HostApi) -> Outcome:
        """Start the flow, or attach to it where it runs already; returns when it ended."""
        raise NotImplementedError

    def stop(self, drain: bool) -> None:
        """Ask the flow to stop: finish the epoch, one more barrier, exit. A second call aborts. From any thread."""
        self.command("drain" if drain else "stop", {})

    def command(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        """A Runner's command, routed."""
        raise NotImplementedError


class Loader(Component, kind="loader"):
    """Loads plugins of one runtime; its name is the manifest's ``runtime.kind``."""

    def audit(self, artifact: Path, manifest: Manifest) -> Iterable[Problem]:
        """What the artifact would need beyond its manifest."""
        return ()

    def prepare(self, manifest: Manifest, host: HostApi) -> None:
        """Do before the first run what can be done: make an environment, compile code."""

    def components(self, manifest: Manifest, host: HostApi) -> Iterable[type[Component]]:
        """The component classes of a plugin; for guests, classes whose operations call the guest."""
        raise NotImplementedError


class Broker(Component, kind="broker"):
    """Reaches the outside for components, as far as their rights go. The plugin set names it (``[defaults]``).

    A host has one. Calls come from any thread.
    """

    def http(self, asker: Asker) -> Http:
        """What sends the requests of one lane; closed with the lane."""
        raise NotImplementedError

    def input(self, name: str, asker: Asker) -> ByteStream:
        """An input that the grants of the asker name, open; its ``close()`` is called with the lane's.

        Raises PermissionDenied, Failed ``input.…``.
        """
        raise NotImplementedError


class Service(Component, kind="service"):
    """Something that stays up beside the flows: an API, a sync agent, alerts."""

    def run(self, host: HostApi) -> None:
        """Serve until ``stop``."""
        raise NotImplementedError

    def stop(self) -> None:
        """End ``run`` soon. From any thread."""

    def health(self) -> tuple[bool, str]:
        """Is it well, and why (not)."""
        return True, ""
