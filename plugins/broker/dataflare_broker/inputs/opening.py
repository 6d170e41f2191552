"""Opens the inputs that grants name; one at a time of a flow, step and name."""

from __future__ import annotations

import threading

from dataflare.errors import ConfigError, Failed, PermissionDenied
from dataflare.grants import Asker, matching
from dataflare_broker.inputs.device import File, Tty
from dataflare_broker.inputs.network import TcpClient, TcpServer, Udp
from dataflare_broker.inputs.origin import read_origin
from dataflare_broker.inputs.reading import Reading

MADE: dict[str, type[Reading]] = {
    "udp": Udp,
    "tcp": TcpClient,
    "tcp-listen": TcpServer,
    "tty": Tty,
    "file": File,
}


class Inputs:
    """The open inputs of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[tuple[str, str, str]] = set()

    def open(self, name: str, asker: Asker) -> Reading:
        """An input of a step. Raises PermissionDenied, ConfigError ``input.…``, Failed."""
        rules = matching(asker.grants, "inputs", name=name)
        if not rules:
            raise PermissionDenied.of(
                "permission.denied",
                f"the input `{name}` is not granted to `{asker.step}`",
                fix="name it under `inputs` in the manifest's [permissions], and grant it",
            )
        given = next((rule for rule in rules if "address" in rule), None)
        if given is None:
            fix = f'say it in the grant: `inputs = [{{ name = "{name}", address = "udp://0.0.0.0:10110" }}]`'
            raise ConfigError.of("input.no_address", f"nothing says where the input `{name}` comes from", fix=fix)
        origin = read_origin(given, asker.base)
        if "kinds" in given and origin.kind not in given["kinds"]:
            message = f"the input `{name}` is {origin.kind}; the plugin takes {', '.join(given['kinds'])}"
            raise ConfigError.of("input.kind", message, fix="give another address")
        key = (asker.flow, asker.step, name)
        with self._lock:
            if key in self._open:
                raise Failed.of(
                    "input.in_use",
                    f"the input `{name}` of `{asker.step}` is open already",
                    kind="retry",
                    fix="let the step run in one lane: `lanes: 1`",
                )
            self._open.add(key)
        try:
            made = MADE[origin.scheme](name, origin, asker)
            made.start(lambda: self._let_go(key))
        except BaseException:
            self._let_go(key)
            raise
        return made

    def _let_go(self, key: tuple[str, str, str]) -> None:
        with self._lock:
            self._open.discard(key)
