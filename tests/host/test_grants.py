"""What a component is given refuses what is not granted; a plugin's grants are what its manifest asks for."""

import pytest

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import services
from dataflare_host import Host


def services_of(**grants):
    return services("orders", grants, Host.start(()))


def granted(plugins=("default", "broker"), **grants):
    return services("orders", grants, Host.start(plugins))


def test_nothing_is_granted_by_itself():
    parts = services_of()
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
    secrets = services_of(secrets=[{"name": "shop-token"}])["secrets"]
    assert secrets.get("shop-token") == "s3cret"
    with pytest.raises(PermissionDenied, match="the secret `other` is not granted to `orders`"):
        secrets.get("other")


def test_the_host_is_granted_by_scope():
    host = services_of(host=[{"scope": "plugin:*"}])["host"]
    assert host.table().generation == 1
    with pytest.raises(PermissionDenied, match=r"host\.command"):
        host.command("flow.yaml", "stop", {})
    with pytest.raises(PermissionDenied, match=r"host\.secret"):
        host.secret("token", "orders")


def test_granted_http_says_that_nobody_brings_a_broker():
    with pytest.raises(PermissionDenied, match=r"permission\.no_broker"):
        services_of(http=[{}])["http"].request("GET", "http://a.example")


def test_granted_http_goes_through_the_broker_of_the_plugin_set():
    with pytest.raises(PermissionDenied, match=r"permission\.http"):
        granted(http=[{"host": "api.example"}])["http"].get("https://other.example/")
    with pytest.raises(PermissionDenied, match=r"permission\.address"):
        granted(http=[{}])["http"].get("http://127.0.0.1/")


def test_a_plugin_gets_what_its_manifest_asks_for_under_the_ceiling(site):
    site.install("crm", '[permissions]\nhttp = [{ host = "*.acme.example", reason = "orders" }]\n')
    assert Host.start({"crm"}).grants("crm") == {"http": [{"host": "*.acme.example", "reason": "orders"}]}
    assert Host.start({"crm"}, ceiling={}).grants("crm") == {}
    assert Host.start({"crm"}).grants("./shop.py") == {}


def test_a_secret_nobody_has_is_told_by_name():
    with pytest.raises(ConfigError, match="the secret `nobody-has` has no value here") as caught:
        Host.start(()).secret("nobody-has", "orders")
    assert caught.value.problems[0].fix == "set DATAFLARE_SECRET_NOBODY_HAS"
