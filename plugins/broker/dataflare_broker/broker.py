"""The broker: what reaches the outside for components, with the bounds that the operator sets."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dataflare import Bytes, Duration
from dataflare import field as option
from dataflare_host.kinds import Broker

if TYPE_CHECKING:
    import ssl

    from dataflare.context import ByteStream
    from dataflare.grants import Asker
    from dataflare.http import Http
    from dataflare_broker.http.shared import Shared
    from dataflare_broker.inputs.opening import Inputs


class GrantedBroker(Broker, name="broker"):
    """Sends requests and holds inputs for components, each checked against what is granted."""

    request: Bytes = option(default=16 << 20, help="How large the body of a request may be.")
    response: Bytes = option(default=16 << 20, help="How large an answer may be, packed and unpacked.")
    connect: Duration = option(default="10s", help="How long one try to connect may take, names included.")
    total: Duration = option(default="60s", help="How long a request may take from its beginning to its answer's end.")
    in_flight: int = option(default=16, ge=1, help="Requests of one step under way at a time.")  # type: ignore[misc]
    certificates: Path | None = option(
        default=None, help="A file with certificates of more authorities to trust (PEM)."
    )

    _making: ClassVar = threading.Lock()

    def http(self, asker: Asker) -> Http:
        """What sends the requests of one lane."""
        from dataflare_broker.http.client import Client

        with self._making:
            shared = self._shared
        return Client(asker, shared)

    def input(self, name: str, asker: Asker) -> ByteStream:
        """An open input."""
        with self._making:
            inputs = self._inputs
        return inputs.open(name, asker)

    @cached_property
    def _inputs(self) -> Inputs:
        from dataflare_broker.inputs.opening import Inputs

        return Inputs()

    @cached_property
    def _shared(self) -> Shared:
        from dataflare_broker.http.connecting import system_resolver
        from dataflare_broker.http.shared import Bounds, Shared

        bounds = Bounds(int(self.request), int(self.response), self.connect, self.total, self.in_flight)
        return Shared(bounds, system_resolver, self._trusted())

    def _trusted(self) -> ssl.SSLContext:
        """The authorities of the operating system, else those of certifi, and the operator's."""
        import ssl

        made = ssl.create_default_context()
        if not made.get_ca_certs() and not ssl.get_default_verify_paths().capath:
            import certifi

            made.load_verify_locations(certifi.where())
        if self.certificates is not None:
            made.load_verify_locations(self.certificates)
        return made
