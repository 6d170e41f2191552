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
