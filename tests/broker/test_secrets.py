"""Secrets that the host puts in: they go where they belong, once over TLS, and never come back."""

import base64
import json
import logging
import threading
from urllib.parse import parse_qs, quote

import pytest
from servers import answer, saying

from dataflare.errors import ConfigError, DataflareError, PermissionDenied, Retry
from dataflare.grants import GrantedSecrets, effective

TOKEN = "s3cr3t/+token=42"
HEADER = {"name": "acme", "inject": "http-header:Authorization@api.example", "prefix": "Bearer "}


@pytest.fixture
def acme(world):
    """A service at api.example, with TLS; its secret."""
    world.names["api.example"] = world.names["evil.example"] = ["127.0.0.1"]
    world.secrets["acme"] = TOKEN
    world.certificate = world.authority.give("api.example", "evil.example")
    return world


def test_a_secret_goes_into_its_header_at_its_host_only(acme):
    server = acme.server(saying(answer()), acme.certificate)
    client = acme.client(secrets=(HEADER,))
    for host in ("api.example", "evil.example"):
        assert client.get(f"https://{host}:{server.port}/", headers={"X": "y"}).ok
    assert [asked.headers.get("authorization") for asked in server.asked] == [f"Bearer {TOKEN}", None]


def test_a_component_cannot_say_another_one_in_its_place(acme):
    server = acme.server(saying(answer()), acme.certificate)
    acme.client(secrets=(HEADER,)).get(f"https://api.example:{server.port}/", headers={"AUTHORIZATION": "mine"})
    assert server.asked[0].head.lower().count(b"authorization") == 1
    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_secret_is_not_sent_without_tls_unless_the_grant_says_so(acme):
    server = acme.server(saying(answer()))
    acme.client(secrets=(HEADER,)).get(f"http://api.example:{server.port}/")
    acme.client(secrets=({**HEADER, "schemes": ["http"]},)).get(f"http://api.example:{server.port}/")
    assert [asked.headers.get("authorization") for asked in server.asked] == [None, f"Bearer {TOKEN}"]


def test_a_secret_may_be_for_one_port(acme):
    server = acme.server(saying(answer()), acme.certificate)
    rule = {**HEADER, "inject": f"{HEADER['inject']}:{server.port + 1}"}
    acme.client(secrets=(rule,)).get(f"https://api.example:{server.port}/")
    assert "authorization" not in server.asked[0].headers


def test_a_redirection_takes_no_secret_elsewhere(acme):
    evil = acme.server(saying(answer()), acme.certificate)
    server = acme.server(saying(answer(302, Location=f"https://evil.example:{evil.port}/")), acme.certificate)
    assert acme.client(secrets=(HEADER,)).get(f"https://api.example:{server.port}/").status == 302
    assert evil.asked == []


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        f"Bearer {TOKEN}",
        quote(TOKEN),
        quote(TOKEN, safe=""),
        json.dumps({"authorization": f"Bearer {TOKEN}"}),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(f"Bearer {TOKEN} and more".encode()).decode(),
        base64.urlsafe_b64encode(f"x{TOKEN}".encode()).decode(),
        TOKEN.encode().hex(),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_service_that_repeats_the_secret_does_not_tell_it(acme, written, packed):
    import gzip

    body = f"before {written} after".encode()
    coding = {"Content_Encoding": "gzip"} if packed else {}
    body = gzip.compress(body) if packed else body
    server = acme.server(saying(answer(400, body, X_Told=written, **coding)), acme.certificate)
    made = acme.client(secrets=(HEADER,)).get(f"https://api.example:{server.port}/")
    shown = made.text + str(dict(made.headers))
    for form in (TOKEN, quote(TOKEN, safe=""), base64.b64encode(TOKEN.encode()).decode(), TOKEN.encode().hex()):
        assert form not in shown
    assert made.text.startswith("before ")
    assert made.text.endswith(" after")
    assert written not in shown


def test_logs_do_not_tell_it_either(acme, caplog):
    server = acme.server(saying(answer(200, b"", X_Echo=TOKEN)), acme.certificate)
    with caplog.at_level(logging.DEBUG):
        acme.client(secrets=(HEADER,)).get(f"https://api.example:{server.port}/")
    assert TOKEN not in caplog.text


def test_an_error_does_not_tell_it(acme):
    def say(connection, _):
        connection.sendall(f"HTTP/1.1 200 OK\r\nX: {TOKEN}\r\n{TOKEN}\r\n\r\n".encode())

    server = acme.server(say, acme.certificate)
    with pytest.raises(DataflareError) as caught:
        acme.client(secrets=(HEADER,)).get(f"https://api.example:{server.port}/")
    assert TOKEN not in str(caught.value)
    acme.secrets["acme"] = "line\r\nX-Smuggled: yes"
    with pytest.raises(ConfigError) as wrong:
        acme.client(secrets=(HEADER,)).get(f"https://api.example:{server.port}/")
    assert "Smuggled" not in str(wrong.value)


def test_a_component_is_not_told_a_secret_that_is_put_in_for_it(acme):
    def of(*rules):
        return GrantedSecrets(acme, "orders", {"secrets": rules})

    with pytest.raises(PermissionDenied, match=r"permission\.injected"):
        of(HEADER).get("acme")
    with pytest.raises(PermissionDenied, match=r"permission\.denied"):
        of(HEADER).get("other")
    assert of(HEADER, {"name": "acme"}).get("acme") == TOKEN


def test_a_grant_may_turn_a_secret_into_an_injected_one_but_not_move_it():
    asked = {"secrets": [{"name": "acme", "reason": "sign in"}]}
    moved = {"secrets": [{"name": "acme", "inject": "http-header:Authorization@evil.example"}]}
    own = {"secrets": [HEADER]}
    assert effective(asked, own)["secrets"][0]["inject"] == HEADER["inject"]
    assert effective(own, asked)["secrets"][0]["inject"] == HEADER["inject"]
    assert effective(own, moved) == {}


@pytest.mark.parametrize(
    "rule",
    [
        {"inject": "http-header:Authorization@*"},
        {"inject": "http-header:Authorization@*.example"},
        {"inject": "http-header:Authorization@api.*.example"},
        {"inject": "http-header:Authorization"},
        {"inject": "http-header:Host@api.example"},
        {"inject": "http-header:A\r\nB@api.example"},
        {"inject": "http-query:key@api.example"},
        {"inject": "oauth2"},
        {"inject": "oauth2", "host": "api.example", "client": "a", "token_url": "http://api.example/token"},
        {"inject": "oauth2", "host": "*", "client": "a", "token_url": "https://api.example/token"},
        {"name": "*", "inject": "http-header:Authorization@api.example"},
    ],
)
def test_a_rule_that_says_too_much_or_too_little_is_refused(world, rule):
    with pytest.raises(ConfigError, match=r"http\.(inject|url)"):
        world.client(secrets=({"name": "acme", **rule},))


# --- OAuth -----------------------------------------------------------------------------------------------------


class Service:
    """A service that takes the tokens it gave, as long as it likes."""

    def __init__(self, world, *, seconds=3600, renewal=None, flow="client_credentials"):
        self.given, self.good, self.renewal = 0, set(), renewal
        world.names["api.example"] = world.names["auth.example"] = ["127.0.0.1"]
        world.secrets["acme-oauth"] = "cl1ent s3cret"
        certificate = world.authority.give("api.example", "auth.example")
        self.seconds = seconds
        self.auth = world.server(self.token, certificate)
        self.api = world.server(self.answer, certificate)
        self.world, self.rule = (
            world,
            {
                "name": "acme-oauth",
                "inject": "oauth2",
                "host": "api.example",
                "token_url": f"https://auth.example:{self.auth.port}/token",
                "client": "us",
                "scopes": ["read", "write"],
                "flow": flow,
                "networks": ["127.0.0.0/8"],
            },
        )
        self.url = f"https://api.example:{self.api.port}/"

    def token(self, connection, asked):
        self.given += 1
        token = f"token-number-{self.given}"
        self.good = {token}
        told = {"access_token": token, "token_type": "Bearer", "expires_in": self.seconds}
        if self.renewal:
            told["refresh_token"] = f"{self.renewal}-{self.given}"
        connection.sendall(answer(200, json.dumps(told).encode()))

    def answer(self, connection, asked):
        fine = asked.headers.get("authorization", "").removeprefix("Bearer ") in self.good
        connection.sendall(answer(200, b"fine") if fine else answer(401, b"who is that?"))

    def client(self, **words):
        return self.world.client({"host": "api.example"}, secrets=({**self.rule, **words},))


def test_a_token_is_asked_for_once_and_used_by_all(world):
    service = Service(world)
    told = [client.get(service.url).text for client in (service.client(), service.client()) for _ in range(2)]
    assert told == ["fine"] * 4
    assert len(service.auth.asked) == 1
    words = {name: value[0] for name, value in parse_qs(service.auth.asked[0].body.decode()).items()}
    assert words == {
        "grant_type": "client_credentials",
        "client_id": "us",
        "client_secret": "cl1ent s3cret",
        "scope": "read write",
    }
    assert "authorization" not in service.auth.asked[0].headers


def test_a_token_that_ends_is_renewed_before(world):
    service = Service(world, seconds=1)
    client = service.client()
    assert client.get(service.url).ok
    (held,) = world.shared.tokens._held.values()
    held.until = 0.0
    assert client.get(service.url).ok
    assert [asked.headers["authorization"] for asked in service.api.asked] == [
        "Bearer token-number-1",
        "Bearer token-number-2",
    ]


def test_a_token_that_is_refused_is_renewed_once(world):
    service = Service(world)
    client = service.client()
    assert client.get(service.url).ok
    service.good.clear()
    assert client.request("POST", service.url, content=b"again").text == "fine"
    assert [asked.body for asked in service.api.asked] == [b"", b"again", b"again"]
    service.api._say = saying(answer(401, b"never"))
    assert client.get(service.url).status == 401
    assert (len(service.auth.asked), len(service.api.asked)) == (3, 5)


def test_many_lanes_that_are_refused_renew_once(world):
    service = Service(world)
    clients = [service.client() for _ in range(8)]
    for client in clients:
        assert client.get(service.url).ok
    service.good.clear()
    told = []
    threads = [threading.Thread(target=lambda each=each: told.append(each.get(service.url).status)) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [200] * 8
    assert len(service.auth.asked) == 2


def test_a_late_refusal_of_an_older_token_does_not_end_a_newer_one(world):
    service = Service(world)
    assert service.client().get(service.url).ok
    (oauth,) = world.shared.tokens._held
    world.shared.tokens.refused(oauth, "Bearer token-number-1")
    service.client().get(service.url)
    world.shared.tokens.refused(oauth, "Bearer token-number-1")
    assert service.client().get(service.url).ok
    assert len(service.auth.asked) == 2


def test_a_secret_that_was_changed_is_read_again_after_a_refusal(acme):
    server = acme.server(saying(answer(401), answer(200)), acme.certificate)
    client = acme.client(secrets=(HEADER,))
    assert client.get(f"https://api.example:{server.port}/").status == 401
    acme.secrets["acme"] = "the-new-one"
    assert client.get(f"https://api.example:{server.port}/").ok
    assert server.asked[1].headers["authorization"] == "Bearer the-new-one"


def test_a_refresh_token_is_changed_for_the_next(world):
    service = Service(world, renewal="next-refresh", flow="refresh_token")
    client = service.client()
    client.get(service.url)
    service.good.clear()
    assert client.get(service.url).ok
    sent = [parse_qs(asked.body.decode())["refresh_token"] for asked in service.auth.asked]
    assert sent == [["cl1ent s3cret"], ["next-refresh-1"]]


def test_a_token_is_never_shown_and_goes_nowhere_else(world):
    service = Service(world)
    service.api._say = lambda connection, asked: connection.sendall(
        answer(200, asked.headers["authorization"].encode(), X=asked.headers["authorization"])
    )
    made = service.client().get(service.url)
    assert "token-number-1" not in made.text + str(made.headers)
    elsewhere = world.server(saying(answer()), world.authority.give("127.0.0.1"))
    world.client(secrets=(service.rule,)).get(f"https://127.0.0.1:{elsewhere.port}/")
    assert "authorization" not in elsewhere.asked[0].headers


def test_a_component_may_not_ask_for_tokens_itself(world):
    service = Service(world)
    with pytest.raises(PermissionDenied, match=r"permission\.http"):
        service.client().post(service.rule["token_url"], content=b"grant_type=client_credentials")
    assert service.auth.asked == []


def test_the_token_service_is_inside_only_where_the_grant_says_so(world):
    service = Service(world)
    with pytest.raises(PermissionDenied, match=r"permission\.address"):
        service.client(networks=[]).get(service.url)
    assert service.auth.asked == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "invalid_client", "error_description": "cl1ent s3cret is wrong"}', "fatal"),
        (503, b"", "retry"),
        (200, b"[]", "fatal"),
        (200, b'{"access_token": "a\\r\\nX: y"}', "fatal"),
        (302, b"", "fatal"),
    ],
)
def test_a_token_that_is_not_given(world, status, body, kind):
    service = Service(world)
    service.auth._say = saying(answer(status, body, Location="https://evil.example/"))
    with pytest.raises(DataflareError, match=r"http\.oauth") as caught:
        service.client().get(service.url)
    assert caught.value.problems[0].kind == kind
    assert "s3cret is" not in str(caught.value)
    assert service.api.asked == []


# --- Retry-After -----------------------------------------------------------------------------------------------


def test_a_service_that_asks_to_wait_is_asked_again_then(world):
    server = world.server(saying(answer(429, Retry_After=0), answer(503, Retry_After="0"), answer(200, b"now")))
    assert world.client().get(f"http://127.0.0.1:{server.port}/").text == "now"
    assert len(server.asked) == 3


def test_a_post_is_not_repeated_after_a_503(world):
    server = world.server(saying(answer(503, Retry_After=0), answer(200)))
    assert world.client().post(f"http://127.0.0.1:{server.port}/").status == 503
    assert len(server.asked) == 1


def test_a_wait_that_is_too_long_is_told_and_kept_by_all_lanes_of_the_step(world):
    server = world.server(saying(answer(429, Retry_After=600), answer(200)))
    url = f"http://127.0.0.1:{server.port}/"
    first = world.client().get(url)
    assert (first.status, first.retry_after) == (429, 600.0)
    with pytest.raises(Retry) as caught:
        first.checked()
    assert caught.value.after == 600.0
    with pytest.raises(Retry) as told:
        world.client().get(url)
    assert 590 < told.value.after <= 600
    assert len(server.asked) == 1
    assert world.client(step="another").get(url).ok
