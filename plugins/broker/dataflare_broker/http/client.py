"""``ctx.http`` of one lane: a request is checked, gets what the host puts in, is sent, and its answer is bounded."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpcore

from dataflare.errors import DataflareError, Failed, PermissionDenied, Problem, Retry
from dataflare.grants import Asker, Network, matching, networks_of
from dataflare.http import Http, Response
from dataflare_broker.http.connecting import Moment, PinnedBackend, Resolver, within
from dataflare_broker.http.content import ACCEPTED, read_content
from dataflare_broker.http.headers import MOST, MOST_BYTES, checked_headers, checked_method, told_headers
from dataflare_broker.http.injecting import Injection, Scrubber, injections
from dataflare_broker.http.tokens import Tokens
from dataflare_broker.http.url import Url, read_url

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
LONGEST_PAUSE = 3600.0
IDLE = 15.0
"""Seconds that a connection is kept for the next request."""


@dataclass(frozen=True)
class Bounds:
    """How much one request may take: bytes, seconds, and requests of one step at a time."""

    request: int
    response: int
    connect: float
    total: float
    in_flight: int


@dataclass
class Shared:
    """What all lanes share: bounds, certificates, resolver, tokens, who is asked to wait."""

    bounds: Bounds
    resolve: Resolver
    certificates: ssl.SSLContext
    tokens: Tokens = field(default_factory=Tokens)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[tuple[str, str], threading.BoundedSemaphore] = {}
        self._pauses: dict[tuple[str, str, str], float] = {}

    @contextmanager
    def turn(self, asker: Asker, moment: Moment) -> Iterator[None]:
        """One of the requests of a step that may be under way at a time."""
        with self._lock:
            turns = self._turns.setdefault((asker.flow, asker.step), threading.BoundedSemaphore(self.bounds.in_flight))
        while not turns.acquire(timeout=moment.left(0.1)):
            pass
        try:
            yield
        finally:
            turns.release()

    def paused(self, asker: Asker, url: Url) -> float:
        """The seconds that this service still asks the step to wait."""
        key = (asker.flow, asker.step, url.authority)
        seconds = self._pauses.get(key, 0.0) - time.monotonic()
        if seconds <= 0:
            self._pauses.pop(key, None)
        return max(0.0, seconds)

    def pause(self, asker: Asker, url: Url, seconds: float) -> None:
        """The service asks to wait."""
        self._pauses[(asker.flow, asker.step, url.authority)] = time.monotonic() + min(seconds, LONGEST_PAUSE)


class Client(Http):
    """Sends the requests of one lane."""

    def __init__(self, asker: Asker, shared: Shared) -> None:
        self._asker = asker
        self._shared = shared
        self._injections = injections(asker.grants.get("secrets", ()))
        self._scrubber = Scrubber()
        self._pools: dict[frozenset[Network], httpcore.ConnectionPool] = {}
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None) -> Response:
        """Send a request. What is raised names no secret, and no query of the address."""
        bounds = self._shared.bounds
        at, method, headers = read_url(url), checked_method(method), checked_headers(headers)
        networks = self._granted(method, at)
        if len(body) > bounds.request:
            message = f"a request of {len(body)} bytes is larger than {bounds.request}"
            raise Failed.of("http.too_large", message, fix="send less at a time")
        total = bounds.total if timeout is None else min(max(0.0, timeout), bounds.total)
        moment = Moment(time.monotonic() + total, self._asker.cancel)
        try:
            with self._shared.turn(self._asker, moment):
                return self._with_patience(method, at, headers, body, networks, moment)
        except DataflareError as error:
            raise self._clean(error) from None

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    # --- what is granted ----------------------------------------------------------------------------------

    def _granted(self, method: str, url: Url) -> frozenset[Network]:
        """The networks beside the public one that the rules open for this. Raises PermissionDenied."""
        wanted: dict[str, str | int] = {"schemes": url.scheme, "host": url.host, "ports": url.port, "path": url.path}
        rules = matching(self._asker.grants, "http", methods=method, **wanted)
        if not rules:
            raise PermissionDenied.of(
                "permission.http",
                f"`{method} {url.place}` is not granted to `{self._asker.step}`",
                fix=f'`http = [{{ host = "{url.host}", methods = ["{method}"], … }}]` in the manifest, and granted',
            )
        return frozenset(network for rule in rules for network in networks_of(rule.get("networks", ())))

    # --- one request, perhaps sent again -------------------------------------------------------------------

    def _with_patience(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes,
        networks: frozenset[Network],
        moment: Moment,
    ) -> Response:
        """Sent when the service will have it: it may ask to wait, before and after."""
        while True:
            self._wait(self._shared.paused(self._asker, url), url, moment)
            answer = self._with_secrets(method, url, headers, body, networks, moment)
            asked = answer.retry_after if answer.status in (429, 503) else None
            if asked is None:
                return answer
            self._shared.pause(self._asker, url, asked)
            again = answer.status == 429 or method in REPEATABLE
            if not again or asked >= moment.left():
                return answer

    def _wait(self, seconds: float, url: Url, moment: Moment) -> None:
        if seconds >= moment.left():
            raise Retry(seconds, f"{url.scheme}://{url.authority} asks to come again in {seconds:.0f} s")
        if seconds and self._asker.cancel.wait(seconds):
            moment.left()

    def _with_secrets(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes,
        networks: frozenset[Network],
        moment: Moment,
    ) -> Response:
        """With what the host puts in; a token that is refused is renewed once."""
        put = [injection for injection in self._injections if injection.meets(url)]
        values = {injection: self._value(injection, moment) for injection in put}
        sent = {**headers, **{injection.header: injection.prefix + value for injection, value in values.items()}}
        answer = self._exchange(method, url, sent, body, networks, moment)
        if answer.status == 401:
            self._forget(put)
        oauth = [injection for injection in put if injection.oauth is not None]
        if answer.status == 401 and oauth:
            for injection in oauth:
                assert injection.oauth is not None
                self._shared.tokens.refused(injection.oauth, values[injection])
                sent[injection.header] = self._value(injection, moment)
            answer = self._exchange(method, url, sent, body, networks, moment)
        content = self._scrubber.bytes(answer.content)
        return Response(answer.status, self._scrubber.headers(answer.headers), content)

    def _value(self, injection: Injection, moment: Moment) -> str:
        """What goes into the header: a secret, or a token, with its kind of it."""
        oauth = injection.oauth
        if oauth is None:
            value = self._secret(injection.name)
            checked_headers({"value": injection.prefix + value})
            self._learn(value)
            return value
        networks = frozenset(networks_of(oauth.networks))

        def post(url: Url, headers: Mapping[str, str], body: bytes) -> Response:
            return self._exchange("POST", url, headers, body, networks, moment)

        token = self._shared.tokens.get(oauth, self._secret, post, self._learn)
        return f"Bearer {token}"

    def _secret(self, name: str) -> str:
        with self._lock:
            if name not in self._values:
                self._values[name] = self._asker.secret(name).strip()
            self._learn(self._values[name])
            return self._values[name]

    def _forget(self, refused: Iterable[Injection]) -> None:
        """Secrets that were not taken are read anew for the next request: they may have been changed."""
        with self._lock:
            for injection in refused:
                self._values.pop(injection.name, None)

    def _learn(self, secret: str) -> None:
        self._scrubber.learn(secret)
        self._scrubber.learn(secret.rpartition(" ")[2])

    def _clean(self, error: DataflareError) -> DataflareError:
        """The same error without secrets."""

        def clean(problem: Problem) -> Problem:
            texts = {"message": problem.message, "cause": problem.cause, "fix": problem.fix}
            return problem.at(**{name: text and self._scrubber.text(text) for name, text in texts.items()})

        return type(error)(*map(clean, error.problems))

    # --- over the network -----------------------------------------------------------------------------------

    def _exchange(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes,
        networks: frozenset[Network],
        moment: Moment,
    ) -> Response:
        """Send it once."""
        own = {"host": url.authority, "accept-encoding": ACCEPTED, "user-agent": "dataflare", "accept": "*/*"}
        sent = {**own, **headers}
        if body or method in ("POST", "PUT", "PATCH"):
            sent["content-length"] = str(len(body))
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
        target = httpcore.URL(
            scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode()
        )
        try:
            with within(moment):
                pool = self._pool(networks)
                with pool.stream(method, target, headers=pairs, content=body) as answer:
                    told = self._read(method, answer)
                _drop_doubtful(pool)
                return told
        except httpcore.ConnectTimeout:
            moment.left()
            raise Failed.of("http.timeout", f"{url.place} cannot be connected to in time", kind="retry") from None
        except httpcore.ConnectError as error:
            raise Failed.of(
                "http.unreachable", f"{url.place} cannot be connected to", kind="retry", cause=str(error)
            ) from None
        except httpcore.ProtocolError as error:
            raise Failed.of(
                "http.broken", f"{url.place} gave no proper answer", kind="retry", cause=str(error)
            ) from None
        except (httpcore.NetworkError, httpcore.TimeoutException) as error:
            cause = f"{type(error).__name__} {error}".rstrip()
            raise Failed.of("http.unreachable", f"{url.place} was cut off", kind="retry", cause=cause) from None

    def _read(self, method: str, answer: httpcore.Response) -> Response:
        size = sum(len(name) + len(value) for name, value in answer.headers)
        if answer.status < 200 or len(answer.headers) > 2 * MOST or size > 2 * MOST_BYTES:
            raise Failed.of("http.broken", "the answer's head is larger than is taken, or no last answer")
        headers = told_headers(answer.headers)
        content = b"" if method == "HEAD" else read_content(answer.iter_stream(), headers, self._shared.bounds.response)
        if method != "HEAD":
            headers.pop("content-length", None)
        for name in ("content-encoding", "transfer-encoding", "connection", "keep-alive"):
            headers.pop(name, None)
        return Response(answer.status, headers, content)

    def _pool(self, networks: frozenset[Network]) -> httpcore.ConnectionPool:
        """Connections by what may be reached: one that a rule opened is not used under another."""
        with self._lock:
            if networks not in self._pools:
                shared = self._shared
                self._pools[networks] = httpcore.ConnectionPool(
                    ssl_context=shared.certificates,
                    max_connections=shared.bounds.in_flight + 2,
                    max_keepalive_connections=shared.bounds.in_flight,
                    keepalive_expiry=IDLE,
                    network_backend=PinnedBackend(shared.resolve, networks, shared.bounds.connect),
                )
            return self._pools[networks]


def _drop_doubtful(pool: httpcore.ConnectionPool) -> None:
    """Close connections on which more came than the answer: it would begin the next one. httpcore keeps them."""
    for connection in pool.connections:
        state = getattr(getattr(connection, "_connection", None), "_h11_state", None)
        if state is not None and connection.is_idle() and state.trailing_data[0]:
            connection.close()
