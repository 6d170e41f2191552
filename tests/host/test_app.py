"""The host makes components, puts secrets and used components in their places, and knows the defaults."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dataflare_host
from dataflare.errors import ConfigError
from dataflare_host import Event, Guarantee, Host, Plan, StepPlan

SHOP = '''
from dataflare import Codec, Secret, Source, Uses, source

class Plain(Codec):
    """Lines."""
    mark: str = ","

class Orders(Source):
    """Orders."""
    dsn: Secret
    tokens: dict[str, Secret] = {}
    codec: Uses[Codec] = Uses("./shop.py/plain", kind="codec")
    def read(self, split): yield {"n": [1]}

@source(deprecated="use `orders`")
def old(*, count: int = 1):
    """Old."""
    yield {"n": [1]}
'''


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def test_a_step_gets_its_secrets_and_the_plan_keeps_their_names(shop, monkeypatch):
    monkeypatch.setenv("DATAFLARE_SECRET_DSN", "postgres://x")
    monkeypatch.setenv("DATAFLARE_SECRET_EU", "eu-token")
    config = {"dsn": "${secret:dsn}", "tokens": {"a/b": "${secret:eu}"}}
    secrets = {"/dsn": "dsn", "/tokens/a~1b": "eu"}
    planned = StepPlan("orders", "source", "./shop.py/orders", "./shop.py", "", config, secrets=secrets)
    plan = Plan({}, {"orders": planned}, (), Guarantee(), base=str(shop))
    made = Host.start(()).step(plan, "orders")
    assert (made.dsn.get(), made.tokens["a/b"].get()) == ("postgres://x", "eu-token")
    assert "postgres" not in repr(made.dsn)
    assert plan.steps["orders"].config == config


def test_what_a_component_uses_is_put_in_its_place(shop):
    made = Host.start(()).component("./shop.py/orders", {"dsn": "x"}, "source", shop)
    assert (made.codec.get().spec.kind, made.codec.get().mark) == ("codec", ",")
    codec = {"uses": "./shop.py/plain", "with": {"mark": ";"}}
    made = Host.start(()).component("./shop.py/orders", {"dsn": "x", "codec": codec}, "source", shop)
    assert made.codec.get().mark == ";"


def test_a_wrong_configuration_names_the_field(shop):
    with pytest.raises(ConfigError) as caught:
        Host.start(()).component("./shop.py/orders", {"dns": "x"}, "source", shop)
    assert caught.value.problems[0].pointer == "/dns"
    assert "dsn" in str(caught.value.problems[0].fix)


def test_a_deprecated_component_says_so(shop, caplog):
    Host.start(()).component("./shop.py/old", {}, "source", shop)
    assert "`./shop.py/old` is deprecated: use `orders`" in caplog.text


def test_a_secret_comes_from_the_store_of_the_set_first(site, monkeypatch):
    store = """
    from dataflare.component import Secrets
    class Vault(Secrets):
        "A vault."
        path: str
        def get(self, name):
            if name == "locked": raise OSError("value-in-the-message")
            return {"both": self.path}[name], None
    """
    defaults = '[defaults]\nsecrets = { uses = "vault/vault", with = { path = "kv" } }\n'
    site.install("vault", defaults + '[components.secrets]\nvault = "testplugin_vault.store:Vault"\n', store=store)
    monkeypatch.setenv("DATAFLARE_SECRET_BOTH", "environment")
    monkeypatch.setenv("DATAFLARE_SECRET_ONLY", "environment")
    host = Host.start({"vault"})
    assert (host.secret("both", "s"), host.secret("only", "s")) == ("kv", "environment")
    with pytest.raises(ConfigError, match=r"secret\.unreadable") as caught:
        host.secret("locked", "s")
    assert "value-in-the-message" not in str(caught.value)


def test_one_plugin_says_each_default(site):
    site.install("one", '[defaults]\nmode = { uses = "one/mode" }\n')
    site.install("two", '[defaults]\nmode = { uses = "two/mode", with = { fast = true } }\n')
    assert Host.start({"two"}).defaults() == {"mode": {"uses": "two/mode", "with": {"fast": True}}}
    assert Host.start(()).defaults() == {}
    site.install("vault", '[defaults]\nsecrets = { uses = "vault/vault" }\n')
    assert set(Host.start({"two", "vault"}).defaults()) == {"mode", "secrets"}
    with pytest.raises(ConfigError, match=r"plugin\.defaults_conflict"):
        Host.start({"one", "two"}).defaults()


def test_an_unknown_generation_is_told():
    with pytest.raises(ConfigError, match=r"plugin\.unknown_generation"):
        Host.start(()).table(7)


def test_events_are_numbered_and_the_oldest_make_way():
    host = Host.start(())
    for _ in range(10_005):
        host.emit(Event("tick"))
    kept = [event.sequence for event in host.events()]
    assert (kept[0], kept[-1], len(kept)) == (6, 10_005, 10_000)
    assert list(host.events(after=10_005)) == []


def test_every_public_name_is_there():
    for name in dataflare_host.__all__:
        assert getattr(dataflare_host, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = dataflare_host.Nothing


def test_a_host_starts_without_anything_heavy(tmp_path):
    code = """
import sys
from dataflare_host import Host
table = Host.start().table()
table.entries("command", loading=False)
heavy = {"pydantic", "pyarrow", "polars", "duckdb", "rich", "yaml", "pluggy"}
heavy |= {"packaging", "tomllib", "importlib.metadata"}
print(*sorted((heavy | {manifest.package for manifest in table.plugins.values()}) & set(sys.modules)))
"""

    def start():
        environment = {**os.environ, "DATAFLARE_CACHE": str(tmp_path)}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    assert set(start().split()) <= {"packaging", "tomllib", "importlib.metadata"}
    assert start() == "\n", "the second start has the manifests from its cache"


def test_no_room_below_names_a_bundle():
    root = Path(__file__).parents[2]
    bundles = {path.name for path in (root / "plugins").iterdir() if path.is_dir()}
    named = [
        (str(file.relative_to(root)), bundle)
        for room in ("sdk/dataflare", "host/dataflare_host")
        for file in (root / room).rglob("*.py")
        for bundle in bundles
        if re.search(rf"dataflare_{bundle}\b", file.read_text("utf-8"))
    ]
    assert named == []
