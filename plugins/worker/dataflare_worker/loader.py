"""The loader ``worker``: component classes of a Python plugin that runs in an environment and a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflare.errors import ConfigError, DataflareError
from dataflare.grants import allows
from dataflare.guest import MINORS
from dataflare.guest.frames import Frame
from dataflare.hosting import Guests, Limits, component_classes
from dataflare_host.kinds import Loader
from dataflare_worker.environments import Environments, Recipe
from dataflare_worker.needs import needs_of
from dataflare_worker.process import Launch
from dataflare_worker.pylock import pylock_of
from dataflare_worker.starts import Processes

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_host.host import HostApi
    from dataflare_host.manifest import Manifest

DESCRIBED = "components.json"
"""Beside the manifest: what the plugin's guest answers to ``describe``."""
_SECONDS = 60.0


class Worker(Loader):
    """Runs Python plugins in environments and processes of their own."""

    installer: Literal["uv", "pip"] | None = None
    """What installs the plugins' dependencies; left out: uv, where it is there."""

    def components(self, manifest: Manifest, host: HostApi) -> Iterable[type[Component]]:
        """The components that the plugin says it has: in ``components.json``, else its guest is asked."""
        limits = Limits.of(manifest.limits, host.limits(manifest.id))
        guests = Processes(lambda: self._launch(manifest, limits, host))
        self._pools().append(guests)
        return component_classes(described(manifest, guests), guests, limits, manifest.id)

    def prepare(self, manifest: Manifest, host: HostApi) -> None:
        """Make the environment of a plugin before it is needed. Raises ConfigError ``worker.environment``."""
        package = Path(manifest.file).parent
        recipe = Recipe.of(manifest.id, needs_of(package).requirements, pylock_of(package))
        self._environments().ready(recipe, check=True)

    def close(self) -> None:
        """End the guests that nobody uses."""
        for guests in self._pools():
            guests.close()

    def _launch(self, manifest: Manifest, limits: Limits, host: HostApi) -> Launch:
        """How the guests of a plugin are started; its environment is made at need. Raises ConfigError."""
        package = Path(manifest.file).parent
        needs, environments = needs_of(package), self._environments()
        granted = host.grants(manifest.id)
        return Launch(
            plugin=manifest.id,
            python=environments.python(needs.requirements, manifest.id, pylock_of(package)),
            targets=targets_of(manifest),
            path=[environments.linked(needs.links) if needs.links else needs.folder],
            environment={name: os.environ[name] for name in os.environ if allows(granted, "env", name=name)},
            memory=limits.memory or _half_of_all(),
            output_ratio=limits.output_ratio,
        )

    def _environments(self) -> Environments:
        return Environments(installer=self.installer)

    def _pools(self) -> list[Guests]:
        pools: list[Guests] = vars(self).setdefault("_guests", [])
        return pools


def targets_of(manifest: Manifest) -> list[str]:
    """What a guest serves: the objects of the manifest's table, else what the entry module holds."""
    if manifest.components is not None:
        return [str(target) for named in manifest.components.values() for target in named.values()]
    return [manifest.entry or manifest.package]


def described(manifest: Manifest, guests: Guests) -> dict[str, Any]:
    """What the plugin says of itself. Raises ConfigError ``plugin.load_failed``."""
    file = Path(manifest.file).with_name(DESCRIBED)
    if file.is_file():
        try:
            told = json.loads(file.read_bytes())
            if isinstance(told, dict):
                # Whatever SDK it was built with: its environment has the one that the host lends.
                return {**told, "api": list(MINORS)}
            raise ValueError("it is not a JSON object")
        except ValueError as error:
            message = f"`{DESCRIBED}` of the plugin `{manifest.id}` cannot be read"
            fix = "build the plugin again"
            raise ConfigError.of("plugin.load_failed", message, file=str(file), cause=str(error), fix=fix) from error
    try:
        guest = guests.take()
        answer = guest.call(Frame({"op": "describe"}), _no_questions, _SECONDS).header
    except DataflareError as error:
        message = f"the plugin `{manifest.id}` cannot be started"
        raise ConfigError.of("plugin.load_failed", message, cause=str(error), file=manifest.file) from error
    if "error" in answer:
        guest.close()
        from dataflare.guest.remote import problem_from

        raise ConfigError(problem_from(answer["error"]))
    guests.give_back(guest)
    return answer


def _no_questions(frame: Frame) -> Frame:
    message = f"nobody answers `{frame.header.get('op')}` here"
    return Frame({"error": {"code": "guest.no_host", "message": message, "kind": "fatal"}})


def _half_of_all() -> int:
    """Half of this machine's memory: a plugin without a limit of its own shall not take the machine down."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
