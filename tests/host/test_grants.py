"""Rights only shrink: what a component may do is in the manifest, in the grant and under the ceiling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError, PermissionDenied
from dataflare_host import Host, StepPlan
from dataflare_host.grants import allows, effective, services

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


def step(**grants):
    return StepPlan("orders", "source", "acme/orders", "acme", "1.0", {}, grants=grants)


def test_nothing_is_granted_by_itself():
    parts = services(step(), Host.start(()))
    for use in (
        lambda: parts["http"].request("GET", "http://a.example"),
        lambda: parts["host"].flows(),
        lambda: parts["secrets"].get("token"),
    ):
        with pytest.raises(PermissionDenied):
            use()


def test_a_granted_secret_is_read_and_no_other(monkeypatch):
    monkeypatch.setenv("DATAFLARE_SECRET_SHOP_TOKEN", "s3cret")
    monkeypatch.setenv("DATAFLARE_SECRET_OTHER", "hidden")
    secrets = services(step(secrets=[{"name": "shop-token"}]), Host.start(()))["secrets"]
    assert secrets.get("shop-token") == "s3cret"
    with pytest.raises(PermissionDenied, match="the secret `other` is not granted to `orders`"):
        secrets.get("other")


def test_the_host_is_granted_by_scope():
    host = services(step(host=[{"scope": "plugin:*"}]), Host.start(()))["host"]
    assert host.table().generation == 1
    with pytest.raises(PermissionDenied, match=r"host\.command"):
        host.command("flow.yaml", "stop", {})
    with pytest.raises(PermissionDenied, match=r"host\.secret"):
        host.secret("token", "orders")


def test_granted_http_says_that_nobody_brings_a_broker():
    with pytest.raises(PermissionDenied, match=r"permission\.no_broker"):
        services(step(http=[{}]), Host.start(()))["http"].request("GET", "http://a.example")


def test_a_plugin_gets_what_its_manifest_asks_for_under_the_ceiling(site):
    site.install("crm", '[permissions]\nhttp = [{ host = "*.acme.example", reason = "orders" }]\n')
    assert Host.start({"crm"}).grants("crm") == {"http": [{"host": "*.acme.example", "reason": "orders"}]}
    assert Host.start({"crm"}, ceiling={}).grants("crm") == {}
    assert Host.start({"crm"}).grants("./shop.py") == {}


def test_a_secret_nobody_has_is_told_by_name():
    with pytest.raises(ConfigError, match="the secret `nobody-has` has no value here") as caught:
        Host.start(()).secret("nobody-has", "orders")
    assert caught.value.problems[0].fix == "set DATAFLARE_SECRET_NOBODY_HAS"
