"""Rights only shrink: what a component may do is in the manifest, in the grant and under the ceiling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.grants import allows, effective

HTTP = {"http": [{"host": "*.acme.example", "methods": ["GET", "POST"], "reason": "orders"}]}


def test_each_layer_narrows():
    granted = {"http": [{"host": "api.acme.example"}]}
    ceiling = {"http": [{"methods": ["GET", "HEAD"]}]}
    assert effective(HTTP, granted, ceiling) == {
        "http": [{"host": "api.acme.example", "methods": ["GET"], "reason": "orders"}]
    }


@pytest.mark.parametrize("other", [{}, {"http": []}, {"files": [{}]}, {"http": [{"host": "evil.example"}]}])
def test_what_one_layer_does_not_give_is_not_given(other):
    assert effective(HTTP, other) == {}


def test_no_bound_changes_nothing():
    assert effective(HTTP, None) == HTTP


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ({"host": "api.acme.example", "methods": "GET"}, True),
        ({"host": "api.acme.example", "methods": "PUT"}, False),
        ({"host": "acme.example.evil", "methods": "GET"}, False),
        ({"host": "xacme.example"}, False),
    ],
)
def test_a_request_is_held_against_the_rules(wanted, allowed):
    assert allows(HTTP, "http", **wanted) is allowed


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/data", True), ("/data/a/b", True), ("/data/../etc/passwd", False), ("/database", False), ("data", False)],
)
def test_a_path_is_inside_its_folder_or_not(path, allowed):
    assert allows({"files": [{"path": "/data"}]}, "files", path=path) is allowed


def test_folders_meet_at_the_inner_one():
    assert effective({"files": [{"path": "/data/in"}]}, {"files": [{"path": "/data"}]}) == {
        "files": [{"path": "/data/in"}]
    }
    assert effective({"files": [{"path": "/data"}]}, {"files": [{"path": "/data/in"}]}) == {
        "files": [{"path": "/data/in"}]
    }
    assert effective({"files": [{"path": "/data"}]}, {"files": [{"path": "/other"}]}) == {}


def test_addresses_that_are_not_public_are_the_operators_to_give():
    asked = {"http": [{"host": "a.example", "networks": ["127.0.0.0/8"]}]}
    assert effective(asked) == effective(asked, None) == {"http": [{"host": "a.example"}]}
    given = {"http": [{"host": "*", "networks": ["127.0.0.0/8", "10.0.0.0/8"]}]}
    assert effective(asked, given)["http"][0]["networks"] == ["127.0.0.0/8", "10.0.0.0/8"]
    bound = {"http": [{"networks": ["10.1.0.0/16", "::1/128"]}]}
    assert effective(asked, given, bound)["http"][0]["networks"] == ["10.1.0.0/16"]
    assert effective(asked, given, {"http": [{}]})["http"][0]["networks"] == ["127.0.0.0/8", "10.0.0.0/8"]


def test_where_an_input_comes_from_is_the_operators_to_give():
    asked = {"inputs": [{"name": "nmea", "kinds": ["udp", "tty"], "address": "file:///etc/passwd"}]}
    assert effective(asked) == {"inputs": [{"name": "nmea", "kinds": ["udp", "tty"]}]}
    given = {"inputs": [{"name": "nmea", "address": "udp://127.0.0.1:0"}]}
    assert effective(asked, given)["inputs"][0]["address"] == "udp://127.0.0.1:0"
    assert effective(asked, given, {"inputs": [{"name": "nmea", "address": "udp://0.0.0.0:1"}]}) == {}


def test_ports_and_schemes_are_lists():
    assert effective({"http": [{"ports": [443, 80]}]}, {"http": [{"ports": [443], "schemes": ["https"]}]}) == {
        "http": [{"ports": [443], "schemes": ["https"]}]
    }
    assert allows({"http": [{"ports": [443]}]}, "http", ports=443)
    assert not allows({"http": [{"ports": [443]}]}, "http", ports=80)


hosts = st.sampled_from(["*", "a.example", "b.example", "*.example", "*.a.example", "x.a.example"])
rules = st.fixed_dictionaries(
    {}, optional={"host": hosts, "methods": st.lists(st.sampled_from(["GET", "PUT", "POST"]), max_size=3, unique=True)}
)
layers = st.dictionaries(st.sampled_from(["http", "sockets"]), st.lists(rules, max_size=3), max_size=2)
wanted = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["a.example", "b.example", "x.a.example", "other"]),
        "methods": st.sampled_from(["GET", "PUT"]),
    }
)


@given(layers, layers, wanted, st.sampled_from(["http", "sockets"]))
def test_the_effective_rights_are_exactly_those_of_all_layers(first, second, request, word):
    both = allows(first, word, **request) and allows(second, word, **request)
    assert allows(effective(first, second), word, **request) is both
