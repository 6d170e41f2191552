"""URLs: what two readers could understand differently is refused, and what is taken is sent as it was checked."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare_broker.http.url import read_url

REFUSED = r"""
ftp://a.example/  file:///etc/passwd  gopher://a.example  javascript:alert(1)  //a.example/  a.example  http:a.example
http:/a.example  http:///a.example  http://  https://?q  unix:///var/run/docker.sock  data:text/plain,x
http://user@a.example/  http://user:pass@a.example/  http://a.example@b.example/  http://a.example%40b.example/
http://a.example\@b.example/  http://a.example:80@b.example/  http://a.example/\..\admin  http:\\a.example/
http://a.example:0/  http://a.example:99999/  http://a.example:/  http://a.example:8a/  http://a.example:80:90/
http://2130706433/  http://0x7f000001/  http://0x7f.1/  http://0177.0.0.1/  http://127.1/  http://127.0.0.01/
http://127.0.0.0x1/  http://0/  http://1.2.3.4.5/  http://256.1.1.1/  http://127.0.0.1./  http://a.example./
http://[fe80::1%25eth0]/  http://[::1/  http://::1/  http://[::ffff:127.0.0.1.]/  http://[v1.a]/  http://[]/
http://a..example/  http://.a.example/  http://-a.example/  http://a-.example/  http://a_.example-/  http://a.example%00/
http://a.example/%00  http://a.example/a%0d%0ab  http://a.example/..  http://a.example/a/../b  http://a.example/./a
http://a.example/%2e%2e/admin  http://a.example/.%2e/admin  http://a.example/v1/..%2fadmin  http://a.example/v1/..;/admin
http://a.example/%252e%252e/admin  http://a.example/%2525252525252e  http://a.example/v1/%5c..%5cadmin
http://ａ.example/  http://a。example/  http://①②⑦.0.0.1/  http://bücher.example/  http://a.example/ü  http://аpple.example/
""".split()


@pytest.mark.parametrize("url", REFUSED)
def test_a_doubtful_address_is_refused(url):
    with pytest.raises(ConfigError, match=r"http\.url"):
        read_url(url)


@pytest.mark.parametrize("letter", ["\r", "\n", "\t", " ", "\0", "\x7f", "\\", "\u2028", "\xa0", "\u200b"])
@pytest.mark.parametrize("place", [0, 3, 7, 10, 18, 22])
def test_no_line_ends_or_hidden_letters_anywhere(letter, place):
    url = "http://a.example/orders?q=1"
    with pytest.raises(ConfigError, match=r"http\.url"):
        read_url(url[:place] + letter + url[place:])


def test_a_message_never_tells_a_password_or_a_query():
    for url in ("http://user:hunter2@a.example/", "http://a.example:0/?token=hunter2", "http://2130706433/?k=hunter2"):
        with pytest.raises(ConfigError) as caught:
            read_url(url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target", "path"),
    [
        ("HTTP://API.Example", "http", "api.example", 80, "/", "/"),
        ("https://api.example:8443/v1?q=a/../b#part", "https", "api.example", 8443, "/v1?q=a/../b", "/v1"),
        ("http://[2606:4700:0:0::1111]:81/a", "http", "2606:4700::1111", 81, "/a", "/a"),
        ("http://a.example/%6frders/a%2Fb", "http", "a.example", 80, "/%6frders/a%2Fb", "/orders/a%2Fb"),
        ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", 80, "/", "/"),
        ("http://my_service:8080", "http", "my_service", 8080, "/", "/"),
        ("http://a.example?x", "http", "a.example", 80, "/?x", "/"),
        ("http://a.example/.../..a", "http", "a.example", 80, "/.../..a", "/.../..a"),
    ],
)
def test_a_plain_address_is_read(url, scheme, host, port, target, path):
    made = read_url(url)
    assert (made.scheme, made.host, made.port, made.target, made.path) == (scheme, host, port, target, path)


texts = st.text(st.sampled_from("a.:/@[]%\\?#-_0x127e;ü \r\n\t2E"), max_size=24)


@given(texts, st.sampled_from(["http://", "https://", "HtTp://", "http:", "//", ""]))
@example("a.example/%2e%2e", "http://")
@example("[::1]:80", "http://")
def test_whatever_is_taken_is_plain(rest, scheme):
    try:
        made = read_url(scheme + rest)
    except ConfigError:
        return
    assert made.scheme in ("http", "https")
    assert 0 < made.port < 65536
    assert made.target.startswith("/")
    assert made.target.isascii()
    assert made.target.isprintable()
    assert " " not in made.target
    assert ".." not in made.path.split("/")
    last = made.host.rpartition(".")[2]
    if ":" in made.host or last.isdigit() or last.startswith("0x"):
        assert str(ipaddress.ip_address(made.host)) == made.host
    else:
        assert not made.host.endswith(".")
        assert set(made.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
    # Read once more, what would be sent is the same place.
    host = f"[{made.host}]" if ":" in made.host else made.host
    again = read_url(f"{made.scheme}://{host}:{made.port}{made.target}")
    assert (again.host, again.port, again.target, again.path) == (made.host, made.port, made.target, made.path)


@given(st.ip_addresses(v=4))
def test_only_the_dotted_form_of_an_ipv4_address_is_taken(address):
    number = int(address)
    parts = str(address).split(".")
    for written in (
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(f"0{int(part):o}" for part in parts),
        f"{address}.",
    ):
        if written != str(address):
            with pytest.raises(ConfigError):
                read_url(f"http://{written}/")
    assert read_url(f"http://{address}/").host == str(address)
