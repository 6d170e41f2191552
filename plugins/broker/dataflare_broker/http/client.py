"""``ctx.http`` of one lane: a request is checked, gets what the host puts in, is sent, and its answer is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import httpcore

from dataflare.errors import ConfigError, DataflareError, Failed, PermissionDenied, Problem, Retry
from dataflare.grants import Asker, Network, matching, networks_of
from dataflare.http import Http, Response
from dataflare_broker.http.connecting import Moment, PinnedBackend, within
from dataflare_broker.http.content import ACCEPTED, read_content
from dataflare_broker.http.headers import MOST, MOST_BYTES, can_be_sent, checked_headers, checked_method, told_headers
from dataflare_broker.http.injecting import Injection, Scrubber, injections
from dataflare_broker.http.shared import Shared
from dataflare_broker.http.url import Url, read_url

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
IDLE = 15.0
"""Seconds that a connection is kept for the next request."""


@dataclass(frozen=True)
class Asked:
    """A request that was checked: what is sent, the networks that it may reach, how long it may take."""

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes
    networks: frozenset[Network]
    moment: Moment


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
                return self._with_patience(Asked(method, at, headers, body, networks, moment))
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

    def _with_patience(self, asked: Asked) -> Response:
        """Sent when the service will have it: it may ask to wait, before and after."""
        while True:
            self._wait(self._shared.paused(self._asker, asked.url), asked)
            answer = self._with_secrets(asked)
            pause = answer.retry_after if answer.status in (429, 503) else None
            if pause is None:
                return answer
            self._shared.pause(self._asker, asked.url, pause)
            again = answer.status == 429 or asked.method in REPEATABLE
            if not again or pause >= asked.moment.left():
                return answer

    def _wait(self, seconds: float, asked: Asked) -> None:
        if seconds >= asked.moment.left():
            raise Retry(seconds, f"{asked.url.scheme}://{asked.url.authority} asks to come again in {seconds:.0f} s")
        if seconds and self._asker.cancel.wait(seconds):
            asked.moment.left()

    def _with_secrets(self, asked: Asked) -> Response:
        """With what the host puts in; a token that is refused is renewed once."""
        put = [injection for injection in self._injections if injection.meets(asked.url)]
        values = {injection: self._value(injection, asked.moment) for injection in put}
        answer = self._exchange(_with(asked, values))
        if answer.status == 401 and put:
            self._forget(put)
            tokens = {each.oauth: value for each, value in values.items() if each.oauth is not None}
            for oauth, token in tokens.items():
                self._shared.tokens.refused(oauth, token)
            if tokens:
                answer = self._exchange(_with(asked, {each: self._value(each, asked.moment) for each in put}))
        content = self._scrubber.bytes(answer.content)
        return Response(answer.status, self._scrubber.headers(answer.headers), content)

    def _value(self, injection: Injection, moment: Moment) -> str:
        """What goes into the header: a secret, or a token, with its kind of it."""
        oauth = injection.oauth
        if oauth is None:
            value = self._secret(injection.name)
            if not can_be_sent(injection.prefix + value):
                message = f"the secret `{injection.name}` cannot be sent in a header: it has line ends or the like"
                raise ConfigError.of("http.header", message, fix="correct the secret's value")
            return value
        networks = frozenset(networks_of(oauth.networks))

        def post(url: Url, headers: Mapping[str, str], body: bytes) -> Response:
            return self._exchange(Asked("POST", url, headers, body, networks, moment))

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

    def _exchange(self, asked: Asked) -> Response:
        """Send it once."""
        url = asked.url
        own = {"host": url.authority, "accept-encoding": ACCEPTED, "user-agent": "dataflare", "accept": "*/*"}
        sent = {**own, **asked.headers}
        if asked.body or asked.method in ("POST", "PUT", "PATCH"):
            sent["content-length"] = str(len(asked.body))
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
        target = httpcore.URL(
            scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode()
        )
        try:
            with within(asked.moment):
                pool = self._pool(asked.networks)
                with pool.stream(asked.method, target, headers=pairs, content=asked.body) as answer:
                    told = self._read(asked.method, answer)
                _drop_doubtful(pool)
                return told
        except httpcore.ConnectTimeout:
            asked.moment.left()
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


def _with(asked: Asked, values: Mapping[Injection, str]) -> Asked:
    """The request with what the host puts into its headers."""
    put = {injection.header: injection.prefix + value for injection, value in values.items()}
    return replace(asked, headers={**asked.headers, **put})


def _drop_doubtful(pool: httpcore.ConnectionPool) -> None:
    """Close connections on which more came than the answer: it would begin the next one. httpcore keeps them."""
    for connection in pool.connections:
        state = getattr(getattr(connection, "_connection", None), "_h11_state", None)
        if state is not None and connection.is_idle() and state.trailing_data[0]:
            connection.close()
