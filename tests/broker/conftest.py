"""Names that lead to servers on loopback, certificates of a test, and clients that live among them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from broker.calling import TOKEN
from servers import Say, Server

from dataflare.context import Context
from dataflare.grants import Asker, services
from dataflare_broker.http.client import Client
from dataflare_broker.http.shared import Bounds, Shared
from dataflare_host import Host

LOOPBACK = ["127.0.0.0/8", "::1/128"]


@dataclass
class Authority:
    """A certificate authority of a test: its file, and the certificates it gives."""

    folder: Path
    file: Path
    give: Callable[..., ssl.SSLContext]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody else knows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("authority")
    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def certificate(subject: str, key, issuer: str, issuer_key, days: int, *more) -> bytes:
        made = x509.CertificateBuilder(named(issuer), named(subject), key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - datetime.timedelta(days=9))
        made = made.not_valid_after(now + datetime.timedelta(days=days))
        for extension in more:
            made = made.add_extension(extension, critical=False)
        return made.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    top = ec.generate_private_key(ec.SECP256R1())
    file = folder / "authority.pem"
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(top.public_key())
    file.write_bytes(
        certificate("test", top, "test", top, 9, x509.BasicConstraints(ca=True, path_length=None), usage, identifier)
    )

    def give(*names: str, days: int = 9, itself: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        known = [_alternative(x509, name) for name in names]
        more = (
            x509.SubjectAlternativeName(known),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(top.public_key()),
        )
        made = certificate(names[0], key, *((names[0], key) if itself else ("test", top)), days, *more)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / f"{len(list(folder.iterdir()))}.pem"
        path.write_bytes(private + made)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    return Authority(folder, file, give)


def _alternative(x509, name: str):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class World:
    """Names and where they lead, and clients that live in it."""

    authority: Authority
    names: dict[str, list[str]] = field(default_factory=dict)
    looked_up: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=lambda: Bounds(1 << 20, 1 << 20, 5.0, 20.0, 8))
    _shared: Shared | None = None
    _servers: list[Server] = field(default_factory=list)
    _clients: list[Client] = field(default_factory=list)

    def server(self, say: Say, certificate: ssl.SSLContext | None = None) -> Server:
        self._servers.append(Server(say, certificate))
        return self._servers[-1]

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]

    def secret(self, name: str, step: str) -> str:
        return self.secrets[name]

    @property
    def shared(self) -> Shared:
        if self._shared is None:
            trusted = ssl.create_default_context(cafile=self.authority.file)
            self._shared = Shared(self.bounds, self.resolve, trusted)
        return self._shared

    def client(self, *rules: dict, secrets: tuple[dict, ...] = (), step: str = "orders") -> Client:
        """A client with these rules; one that says nothing of networks reaches loopback too."""
        http = [{"networks": LOOPBACK, **rule} for rule in rules or ({},)]
        self._clients.append(Client(Asker(step, {"http": http, "secrets": secrets}, self, flow="test"), self.shared))
        return self._clients[-1]

    def end(self) -> None:
        for client in self._clients:
            client.close()
        for server in self._servers:
            server.close()


@pytest.fixture
def world(authority: Authority) -> Iterator[World]:
    made = World(authority)
    yield made
    made.end()


@pytest.fixture
def around(world, monkeypatch, tmp_path):
    """The surroundings of a step with these grants, in a host whose broker lives in the test's world."""
    monkeypatch.setenv("DATAFLARE_SECRET_ACME", TOKEN)
    hosts = []

    def made(**grants):
        host = Host.start({"default", "broker"})
        hosts.append(host)
        broker = host.broker()
        broker.__dict__["_shared"] = world.shared
        return Context(flow="test", step="orders", **services("orders", grants, host, flow="test", base=tmp_path))

    yield made
    for host in hosts:
        host.stop()
