"""Connections to addresses that were checked: a name is resolved once, and what was checked is what is connected to."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpcore

from dataflare.errors import Failed, PermissionDenied
from dataflare.grants import Network
from dataflare_broker.http.reach import Address, may_reach, plain

Resolver = Callable[[str, int], Sequence[str]]
"""Host and port → the IP addresses of the host. Raises OSError."""
SLICE = 0.1
"""Seconds between two looks whether the flow stops."""
PIECE = 1 << 16


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses that the operating system knows."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass
class Moment:
    """How long one request may still take, and whether the flow stops meanwhile."""

    until: float
    cancel: threading.Event = field(default_factory=threading.Event)

    def left(self, most: float | None = None) -> float:
        """The seconds left, at most ``most``. Raises Failed ``http.timeout``, ``http.cancelled``."""
        if self.cancel.is_set():
            raise Failed.of("http.cancelled", "the flow stops, so the request is given up", kind="retry")
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise Failed.of("http.timeout", "the request took longer than it may", kind="retry")
        return seconds if most is None else min(seconds, most)


class _Now(threading.local):
    moment: Moment | None = None


_now = _Now()


@contextlib.contextmanager
def within(moment: Moment) -> Iterator[None]:
    """All that this thread sends and receives inside belongs to one request."""
    _now.moment = moment
    try:
        yield
    finally:
        _now.moment = None


def _not_ours(_record: logging.LogRecord) -> bool:
    return _now.moment is None


for _name in ("httpcore.connection", "httpcore.http11"):
    logging.getLogger(_name).addFilter(_not_ours)  # at level debug it writes headers of answers, and so secrets


def the_moment() -> Moment:
    """The request that this thread works on."""
    assert _now.moment is not None, "outside of a request"
    return _now.moment


class PinnedBackend(httpcore.NetworkBackend):
    """Makes connections for httpcore: resolves, checks every address, connects to those and no other."""

    def __init__(self, resolve: Resolver, networks: Iterable[Network], connect_seconds: float) -> None:
        self._resolve = resolve
        self._networks = frozenset(networks)
        self._seconds = connect_seconds

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to one of the addresses of ``host``."""
        moment = the_moment()
        until = time.monotonic() + self._seconds
        wrong: Exception = OSError("no addresses")
        for address in self._checked(host, port, moment, until):
            try:
                made = _dial(str(address), port, moment, until)
            except OSError as error:
                wrong = error
                continue
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Stream(made, self._seconds)
        raise httpcore.ConnectError(str(wrong)) from wrong

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        """Never."""
        raise httpcore.ConnectError("not over unix sockets")

    def _checked(self, host: str, port: int, moment: Moment, until: float) -> list[Address]:
        """The addresses of a host, none of which may be forbidden."""
        try:
            addresses = [plain(ipaddress.ip_address(host))]
        except ValueError:
            addresses = [plain(_address(each)) for each in self._resolved(host, port, moment, until)]
        for address in addresses:
            if not may_reach(address, self._networks):
                raise PermissionDenied.of(
                    "permission.address",
                    f"`{host}` is at {address}, which is not public",
                    fix=f'let the grant say `networks = ["{address}/{address.max_prefixlen}"]` if it may be reached',
                )
        return addresses

    def _resolved(self, host: str, port: int, moment: Moment, until: float) -> Sequence[str]:
        """Resolved in a thread of its own, since a name server may take longer than the request may."""
        answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.put(error if isinstance(error, OSError) else OSError(str(error)))

        threading.Thread(target=ask, name="dataflare-resolve", daemon=True).start()
        while True:
            try:
                found = answers.get(timeout=moment.left(SLICE))
                break
            except queue.Empty:
                if time.monotonic() > until:
                    raise httpcore.ConnectTimeout(f"`{host}` was not resolved in time") from None
        if isinstance(found, OSError):
            raise httpcore.ConnectError(f"`{host}` cannot be resolved: {found}")
        return found


def _address(given: str) -> Address:
    """An address of a resolver, which may have a zone."""
    return ipaddress.ip_address(given.partition("%")[0])


def _dial(address: str, port: int, moment: Moment, until: float) -> socket.socket:
    """A connected socket."""
    version = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(version, socket.SOCK_STREAM)
    try:
        made.settimeout(max(0.001, min(moment.left(), until - time.monotonic())))
        made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with the request's time, or with the flow."""

    def __init__(self, held: socket.socket, tls_seconds: float) -> None:
        self._socket = held
        self._tls_seconds = tls_seconds

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        moment = the_moment()
        while True:
            self._socket.settimeout(moment.left(SLICE))
            try:
                return self._socket.recv(max_bytes)
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        moment, rest = the_moment(), memoryview(buffer)
        while rest:
            self._socket.settimeout(moment.left(SLICE))
            try:
                rest = rest[self._socket.send(rest[:PIECE]) :]
            except TimeoutError:
                continue
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._socket.settimeout(the_moment().left(self._tls_seconds))
        try:
            made = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except ssl.SSLError as error:
            self.close()
            raise Failed.of(
                "http.not_trusted",
                f"`{server_hostname}` does not show that it is who it says",
                cause=getattr(error, "verify_message", None) or error.reason or str(error),
                fix="correct its certificate; for an authority of your own set `certificates` of the broker",
            ) from None
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(made, self._tls_seconds)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            if self._socket.fileno() < 0:
                return True
            look = select.poll()
            look.register(self._socket, select.POLLIN)
            return bool(look.poll(0))
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return None
