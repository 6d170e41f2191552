"""Requests against real servers: what is granted is sent, all else is not, and an answer is never followed."""

import ssl
import threading
from dataclasses import replace

import pytest
from servers import answer, saying

from dataflare.errors import ConfigError, DataflareError, Failed, PermissionDenied


def code_of(call):
    with pytest.raises(DataflareError) as caught:
        call()
    return caught.value.code


def test_a_request_is_sent_as_it_was_said(world):
    world.names["api.example"] = ["127.0.0.1"]
    server = world.server(saying(answer(201, b'{"id": 1}', X_Left=3)))
    url = f"http://api.example:{server.port}/v1/orders"
    made = world.client().post(url, params={"a": "x y", "b": [1, 2], "c": None}, json={"n": "ü"}, headers={"X-A": "b"})
    assert (made.status, made.json(), made.headers["x-left"]) == (201, {"id": 1}, "3")
    asked = server.asked[0]
    assert (asked.method, asked.target) == ("POST", "/v1/orders?a=x+y&b=1&b=2")
    assert asked.body == '{"n":"ü"}'.encode()
    assert asked.headers["host"] == f"api.example:{server.port}"
    assert asked.headers["x-a"] == "b"
    assert asked.headers["content-type"] == "application/json"


def test_the_connection_is_kept_and_no_name_is_asked_for_twice(world):
    world.names["api.example"] = ["127.0.0.1"]
    server = world.server(saying(answer()))
    client = world.client()
    for _ in range(3):
        assert client.get(f"http://api.example:{server.port}/").ok
    assert {asked.connection for asked in server.asked} == {1}
    assert world.looked_up == ["api.example"]


def test_a_name_that_changes_its_mind_after_the_check_leads_nowhere_else(world):
    """DNS rebinding: what was checked is what is connected to."""
    server = world.server(saying(answer(200, b"inside", Connection="close")))
    answers = iter([["93.184.216.34", "127.0.0.1"], ["127.0.0.1"]])
    world.resolve = lambda host, port: next(answers)
    client = world.client({"networks": []})
    assert code_of(lambda: client.get(f"http://turn.example:{server.port}/")) == "permission.address"
    assert code_of(lambda: client.get(f"http://turn.example:{server.port}/")) == "permission.address"
    assert server.asked == []


def test_a_connection_that_one_rule_opened_is_not_used_under_another(world):
    server = world.server(saying(answer()))
    client = world.client({"path": "/open"}, {"path": "/closed", "networks": []})
    url = f"http://127.0.0.1:{server.port}"
    assert client.get(f"{url}/open").ok
    assert code_of(lambda: client.get(f"{url}/closed")) == "permission.address"


@pytest.mark.parametrize(
    ("rule", "method", "url", "granted"),
    [
        ({"host": "*.acme.example"}, "GET", "http://api.acme.example:{port}/", True),
        ({"host": "*.ACME.example"}, "GET", "http://API.acme.EXAMPLE:{port}/", True),
        ({"host": "*.acme.example"}, "GET", "http://acme.example.evil.example:{port}/", False),
        ({"host": "api.acme.example"}, "GET", "http://xapi.acme.example:{port}/", False),
        ({"host": "api.acme.example"}, "GET", "http://127.0.0.1:{port}/", False),
        ({"methods": ["GET"]}, "POST", "http://api.acme.example:{port}/", False),
        ({"methods": ["GET"]}, "get", "http://api.acme.example:{port}/", True),
        ({"ports": [443]}, "GET", "http://api.acme.example:{port}/", False),
        ({"schemes": ["https"]}, "GET", "http://api.acme.example:{port}/", False),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}/v1/orders?x=/v2", True),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}/v1", True),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}/%761/orders", True),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}/v12", False),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}/v2?x=/v1", False),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}//v1", False),
        ({"path": "/v1"}, "GET", "http://api.acme.example:{port}/v1%2Forders", False),
    ],
)
def test_only_what_a_rule_holds_for_is_sent(world, rule, method, url, granted):
    world.resolve = lambda host, port: ["127.0.0.1"]
    server = world.server(saying(answer()))
    client, url = world.client(rule), url.format(port=server.port)
    if granted:
        assert client.request(method, url).ok
    else:
        with pytest.raises(PermissionDenied, match=r"permission\.http"):
            client.request(method, url)
    assert len(server.asked) == granted


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_an_answer(world, status):
    inside = world.server(saying(answer(200, b"inside")))
    server = world.server(saying(answer(status, Location=f"http://127.0.0.1:{inside.port}/")))
    made = world.client({"ports": [server.port]}).get(f"http://127.0.0.1:{server.port}/")
    assert (made.status, made.headers["location"]) == (status, f"http://127.0.0.1:{inside.port}/")
    assert inside.asked == []
    with pytest.raises(Failed, match=r"http\.answered"):
        made.checked()


def test_proxies_and_netrc_of_the_environment_are_not_looked_at(world, monkeypatch, tmp_path):
    proxy = world.server(saying(answer(200, b"proxy")))
    server = world.server(saying(answer(200, b"direct")))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert world.client().get(f"http://127.0.0.1:{server.port}/").text == "direct"
    assert "authorization" not in server.asked[0].headers
    assert proxy.asked == []


def test_cookies_are_not_kept(world):
    server = world.server(saying(answer(200, b"", Set_Cookie="id=1")))
    client = world.client()
    for _ in range(2):
        assert client.get(f"http://127.0.0.1:{server.port}/").headers["set-cookie"] == "id=1"
    assert all("cookie" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nHost: b"},
        {"X": "a\nb"},
        {"X": "a\0b"},
        {"X": "a\rb"},
        {"X": "\u560d\u560aHost: b"},
        {"X\r\nHost": "b"},
        {"X:": "b"},
        {"X Y": "b"},
        {"": "b"},
        {"X": "a", "x": "b"},
        {"X": 1},
        {"Host": "b"},
        {"HOST": "b"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close, Authorization"},
        {"Keep-Alive": "1"},
        {"Proxy-Authorization": "x"},
        {"TE": "trailers"},
        {"Trailer": "x"},
        {"Upgrade": "h2c"},
        {"Expect": "100-continue"},
        {"Accept-Encoding": "br"},
        {f"X-{number}": "a" for number in range(200)},
        {"X": "a" * 50_000},
    ],
)
def test_headers_that_change_how_the_request_travels_are_refused(world, headers):
    server = world.server(saying(answer()))
    with pytest.raises(ConfigError, match=r"http\.header"):
        world.client().get(f"http://127.0.0.1:{server.port}/", headers=headers)
    assert server.asked == []


@pytest.mark.parametrize(
    "method", ["", "GET /x HTTP/1.1\r\nHost: b\r\n\r\nGET", "G T", "CONNECT", "TRACE", "GÉT", "A" * 21]
)
def test_methods_that_are_none_are_refused(world, method):
    server = world.server(saying(answer()))
    with pytest.raises(ConfigError, match=r"http\.method"):
        world.client().request(method, f"http://127.0.0.1:{server.port}/")
    assert server.asked == []


def test_a_body_has_its_length_and_a_large_one_is_not_sent(world):
    server = world.server(saying(answer()))
    client, url = world.client(), f"http://127.0.0.1:{server.port}/"
    client.request("PUT", url, content=b"x" * (1 << 20))
    client.request("PUT", url, content="ü")
    client.request("POST", url)
    assert [len(asked.body) for asked in server.asked] == [1 << 20, 2, 0]
    assert [asked.headers["content-length"] for asked in server.asked] == [str(1 << 20), "2", "0"]
    assert code_of(lambda: client.request("PUT", url, content=b"x" * (1 << 20 | 1))) == "http.too_large"
    assert code_of(lambda: client.request("PUT", url, content=b"x", json=1)) == "http.two_bodies"
    assert len(server.asked) == 3


# --- TLS -------------------------------------------------------------------------------------------------------


def test_the_certificate_must_be_of_the_name_that_was_asked_for(world):
    world.names = {"api.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
    server = world.server(saying(answer(200, b"safe")), world.authority.give("api.example"))
    client = world.client()
    assert client.get(f"https://api.example:{server.port}/").text == "safe"
    assert code_of(lambda: client.get(f"https://other.example:{server.port}/")) == "http.not_trusted"
    assert code_of(lambda: client.get(f"https://127.0.0.1:{server.port}/")) == "http.not_trusted"
    assert len(server.asked) == 1


def test_an_address_has_a_certificate_too(world):
    server = world.server(saying(answer(200, b"safe")), world.authority.give("127.0.0.1"))
    assert world.client().get(f"https://127.0.0.1:{server.port}/").text == "safe"


def test_the_name_travels_in_the_handshake(world):
    world.names["api.example"] = ["127.0.0.1"]
    names = []
    certificate = world.authority.give("api.example")
    certificate.sni_callback = lambda held, name, context: names.append(name)
    server = world.server(saying(answer()), certificate)
    world.client().get(f"https://api.example:{server.port}/")
    assert names == ["api.example"]


@pytest.mark.parametrize("how", [{"days": -1}, {"itself": True}])
def test_a_certificate_that_ended_or_signed_itself_is_not_taken(world, how):
    server = world.server(saying(answer()), world.authority.give("127.0.0.1", **how))
    assert code_of(lambda: world.client().get(f"https://127.0.0.1:{server.port}/")) == "http.not_trusted"
    assert server.asked == []


def test_an_authority_that_the_operator_does_not_name_is_not_trusted(world):
    world.shared.certificates = ssl.create_default_context()
    server = world.server(saying(answer()), world.authority.give("127.0.0.1"))
    assert code_of(lambda: world.client().get(f"https://127.0.0.1:{server.port}/")) == "http.not_trusted"


def test_a_service_without_tls_is_not_spoken_to_in_plain(world):
    world.bounds = replace(world.bounds, connect=0.3)
    server = world.server(saying(answer()))
    assert code_of(lambda: world.client().get(f"https://127.0.0.1:{server.port}/")) == "http.timeout"
    assert server.asked == []


def test_many_lanes_at_once(world):
    server = world.server(saying(answer(200, b"yes")))
    client, told = world.client(), []

    def ask():
        told.append(client.get(f"http://127.0.0.1:{server.port}/").text)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["yes"] * 20
