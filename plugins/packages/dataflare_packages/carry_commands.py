"""``plugin sbom | export | deploy``: what is locked, for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataflare import Command, ConfigError, field
from dataflare_packages.commands import PROJECT

Json = Any


class Sbom(Command, name="plugin.sbom", group="plugin"):
    """Print what is locked as a bill of materials, CycloneDX in JSON."""

    project: Path = field(default=Path(), help=PROJECT)

    def call(self) -> Json:
        """The bill. Raises ConfigError ``lock.none``, ``lock.pylock``."""
        from dataflare_packages.bill import bill_of
        from dataflare_packages.lockfile import read_lock
        from dataflare_packages.others import named_by

        lock = read_lock(self.project)
        if lock is None:
            message = f"there is no `dataflare.lock` in {self.project}"
            raise ConfigError.of("lock.none", message, fix="make it by `dataflare plugin lock`")
        return bill_of(lock, self.project.absolute().name, named_by(lock, self.project))

    def show(self, answer: Json) -> str:
        """JSON, indented."""
        return json.dumps(answer, indent=2)


class Export(Command, name="plugin.export", group="plugin"):
    """Put a project's flows, set, lock and wheels into one file, which `plugin deploy` installs without a network."""

    project: Path = field(default=Path(), help=PROJECT)
    key: Path | None = field(default=None, help="Sign it with this private key, Ed25519 in PEM.")
    serial: int = field(default=0, help="The bundle's number, which has to grow with each that is signed.")
    everywhere: bool = field(default=False, help="With what Python plugins need for all platforms, not this one alone.")

    def call(self, host: Any, to: Path) -> Json:
        """``{"bundle", "digest", "files", "serial", "signed"}``. Raises ConfigError ``lock.…``, ``bundle.…``."""
        from dataflare_packages.carrying import export

        def work() -> Json:
            return export(self.project, to, key=self.key, serial=self.serial, everywhere=self.everywhere)

        return host.change("plugin.export", str(self.project), work)


class Deploy(Command, name="plugin.deploy", group="plugin"):
    """Install a bundle into a project, without a network.

    With --deployer the key is pinned: from then on only bundles that it signed are taken, and no older ones.
    """

    project: Path = field(default=Path(), help=PROJECT)
    deployer: Path | None = field(default=None, help="The public key to pin, Ed25519 in PEM.")

    def call(self, host: Any, bundle: Path) -> Json:
        """``{"installed", "kept", "removed"}``. Raises NotTrusted ``bundle.not_trusted``, ConfigError ``bundle.…``."""
        from dataflare_packages.carrying import deploy

        work = lambda: deploy(bundle, self.project, host, self.deployer)  # noqa: E731
        done = host.change("plugin.deploy", str(self.project), work)
        return {key: list(value) for key, value in vars(done).items()}
