"""Inputs from the network: UDP, TCP as a client, TCP as a server."""

from __future__ import annotations

import ipaddress
import socket
import struct

from dataflare_broker.inputs.reading import PIECE, Backoff, Reading

KERNEL_BUFFER = 4 << 20
LONGEST_LINE = 1 << 16
CONNECT = 5.0


class Udp(Reading):
    """Datagrams that arrive at an address; of a multicast group, those of the group."""

    whole = True

    def ready(self) -> None:
        """Bind, and join the group."""
        found = socket.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
            group = ipaddress.ip_address(str(address[0]).partition("%")[0])
            if group.is_multicast:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            if group.is_multicast:
                self._join(group)
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self.place = _place(self._socket)

    def run(self) -> None:
        """Take datagrams."""
        while self.readable([self._socket.fileno()]):
            try:
                given, peer = self._socket.recvfrom(PIECE)
            except (BlockingIOError, ConnectionError):
                continue
            if not may_send(str(peer[0]), self.origin.peers):
                self.tell(f"a datagram of {peer[0]} was dropped: it is none of `peers`")
            elif not self.put(given):
                return

    def release(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _join(self, group: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        interface = self.origin.options["interface"]
        if group.version == 4:
            request = group.packed + socket.inet_aton(interface or "0.0.0.0")
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            index = socket.if_nametoindex(interface) if interface else 0
            request = group.packed + struct.pack("@I", index)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)


class TcpClient(Reading):
    """What a server sends; connected to again when it closes, unless ``reconnect=no``."""

    def run(self) -> None:
        """Connect, read, connect again."""
        backoff = Backoff()
        while not self.closing:
            came = self._connection()
            if self.closing or (came and self.origin.options["reconnect"] == "no"):
                return
            if came:
                backoff.reset()
            self.tell(f"{self.origin.host}:{self.origin.port} is not there, or closed; connecting again")
            if not self.pause(backoff.next()):
                return

    def _connection(self) -> bool:
        """One connection, from beginning to end. Was it made?"""
        try:
            held = socket.create_connection((self.origin.host, self.origin.port), CONNECT)
        except OSError:
            return False
        with held:
            _keep_alive(held)
            while self.readable([held.fileno()]):
                try:
                    given = held.recv(PIECE)
                except OSError:
                    break
                if not given or not self.put(given):
                    break
        return True


class TcpServer(Reading):
    """What clients send. Where several may, whole lines of each are handed over, so that they do not mix."""

    def ready(self) -> None:
        """Listen."""
        family = socket.AF_INET6 if ":" in self.origin.host else socket.AF_INET
        self._socket = socket.create_server((self.origin.host, self.origin.port), family=family)
        self._socket.setblocking(False)
        self._peers: dict[int, tuple[socket.socket, bytearray]] = {}
        self.place = _place(self._socket)

    def run(self) -> None:
        """Accept and read."""
        while ready := self.readable([self._socket.fileno(), *self._peers]):
            for number in ready:
                if not (self._accept() if number == self._socket.fileno() else self._read(number)):
                    return

    def release(self) -> None:
        """Close all."""
        self._socket.close()
        for held, _ in self._peers.values():
            held.close()

    def _accept(self) -> bool:
        try:
            held, peer = self._socket.accept()
        except OSError:
            return True
        if len(self._peers) >= self.origin.connections or not may_send(str(peer[0]), self.origin.peers):
            held.close()
            self.tell(f"{peer[0]} was refused: it is none of `peers`, or one of more than `connections`")
        else:
            held.setblocking(False)
            _keep_alive(held)
            self._peers[held.fileno()] = (held, bytearray())
        return True

    def _read(self, number: int) -> bool:
        """What a client sent. False: nobody takes it any more."""
        held, rest = self._peers[number]
        try:
            given = held.recv(PIECE)
        except BlockingIOError:
            return True
        except OSError:
            given = b""
        if not given:
            del self._peers[number]
            held.close()
            return self.put(bytes(rest)) if rest else True
        if self.origin.connections == 1:
            return self.put(given)
        rest += given
        end = rest.rfind(b"\n") + 1 or (len(rest) if len(rest) > LONGEST_LINE else 0)
        lines = bytes(rest[:end])
        del rest[:end]
        return self.put(lines) if lines else True


def may_send(peer: str, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    """Is this one of those who may send?"""
    address = ipaddress.ip_address(peer.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return not networks or any(address.version == each.version and address in each for each in networks)


def _keep_alive(held: socket.socket) -> None:
    """Notice within two minutes that the other side is gone."""
    held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            held.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _place(held: socket.socket) -> str:
    host, port = held.getsockname()[:2]
    return f"{host}:{port}"
