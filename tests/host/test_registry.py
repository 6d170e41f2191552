"""A table finds components by their names, loads them late, and never changes."""

import dataclasses
import sys

import pytest

from dataflare.declare import kinds
from dataflare.errors import ConfigError
from dataflare_host import Host
from dataflare_host.registry import KINDS

TABLE = """
[components.source]
numbers = "testplugin_shop.parts:numbers"
[components.sink]
numbers = "testplugin_shop.parts:Hole"
ledger = "testplugin_shop.parts:Ledger"
[summaries.source]
numbers = "Whole numbers."
"""
PARTS = '''
from dataflare import Sink, source

@source(aliases=("integers",))
def numbers(position: int = 0, *, count: int = 3):
    """Whole numbers."""
    yield {"n": list(range(count))}, count

class Hole(Sink, name="numbers"):
    """Swallows."""
    def write(self, batch): ...

class Ledger(Sink):
    """Keeps."""
    def write(self, batch): ...
'''


@pytest.fixture
def table(site):
    site.install("shop", TABLE, parts=PARTS)
    return Host.start({"shop"}).table()


def refusal(table, kind, uses, base=None):
    with pytest.raises(ConfigError) as caught:
        table.find(kind, uses, base)
    return caught.value.problems[0]


def test_the_place_in_the_flow_picks_the_kind(table):
    assert table.find("source", "shop/numbers").load().spec.summary == "Whole numbers."
    assert table.find("sink", "shop/numbers").load().spec.summary == "Swallows."


def test_finding_imports_nothing(table):
    entry = table.find("source", "Shop/numbers")
    assert (entry.uses, entry.version, entry.summary) == ("shop/numbers", "1.0.0", "Whole numbers.")
    assert "testplugin_shop" not in sys.modules
    entry.load()
    assert "testplugin_shop.parts" in sys.modules


def test_an_alias_is_found(table):
    assert table.find("source", "shop/integers").name == "numbers"


@pytest.mark.parametrize(
    ("kind", "uses", "message", "fix"),
    [
        ("source", "shop/numers", "`shop` has no source `numers`", "did you mean `shop/numbers`?"),
        ("source", "shop/ledger", "`shop/ledger` is a sink, not a source", "its source components: `shop/numbers`"),
        ("source", "shp/numbers", "no plugin `shp` is installed here", "did you mean `shop/numbers`?"),
        ("tool", "shop/anything", "`shop` has no tool `anything`", "its tool components: none"),
        ("source", "quite-other/thing", "no plugin `quite-other` is installed here", "install `dataflare-quite-other`"),
        ("source", "shop", "`shop` has no source `shop`", "its source components: `shop/numbers`"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(table, kind, uses, message, fix):
    problem = refusal(table, kind, uses)
    assert (problem.code, problem.message) == ("flow.unknown_component", message)
    assert problem.fix.startswith(fix)


def test_a_faulty_plugin_is_the_cause(site):
    site.install("bad", "[typo]\n")
    problem = refusal(Host.start().table(), "source", "bad/thing")
    assert problem.message == "the plugin `bad` is installed, but cannot be used"
    assert problem.cause.startswith("plugin.manifest_unknown_key")


def test_one_name_is_enough_where_plugin_and_component_share_it(site):
    site.install("solo", __init__=PARTS.replace("def numbers", "def solo"))
    assert Host.start({"solo"}).table().find("source", "solo").uses == "solo/solo"


def test_without_a_table_the_entry_module_is_asked(site):
    source = "from testplugin_loose.parts import *\nfrom testplugin_loose.parts import numbers as _hidden\n"
    site.install("loose", __init__=source, parts=PARTS)
    table = Host.start({"loose"}).table()
    assert table.entries(loading=False) == []
    assert [(entry.kind, entry.name) for entry in table.entries()] == [
        ("sink", "ledger"),
        ("sink", "numbers"),
        ("source", "numbers"),
    ]


def test_code_that_fails_is_told_with_its_line(site):
    site.install("shop", TABLE, parts="x = 1\nraise OSError('no licence')\n")
    with pytest.raises(ConfigError) as caught:
        Host.start({"shop"}).table().find("source", "shop/numbers").load()
    problem = caught.value.problems[0]
    assert (problem.code, problem.cause, problem.line) == ("plugin.load_failed", "OSError: no licence", 2)
    assert problem.file.endswith("parts.py")


def test_a_plugin_that_cannot_be_imported_is_left_out_of_the_list(site):
    site.install("ill", __init__="1 / 0")
    site.install("shop", TABLE, parts=PARTS)
    assert {entry.plugin for entry in Host.start({"ill", "shop"}).table().entries()} == {"shop"}


@pytest.mark.parametrize("target", ["testplugin_shop.parts:Sink", "testplugin_shop.parts:Ledger", "os:sep"])
def test_a_table_that_names_something_else_is_told(site, target):
    site.install("shop", f'[components.source]\nnumbers = "{target}"\n', parts=PARTS)
    with pytest.raises(ConfigError, match=r"plugin\.table_wrong"):
        Host.start({"shop"}).table().find("source", "shop/numbers").load()


def test_a_declarative_plugin_gives_others_a_configuration(site):
    site.install("shop", TABLE, parts=PARTS)
    preset = '[components.source]\nfive = { uses = "shop/numbers", with = { count = 5 } }\n'
    site.install("sets", preset, runtime="declarative")
    host = Host.start({"shop", "sets"})
    made = host.component("sets/five", {}, "source")
    assert (made.spec.name, made.count) == ("five", 5)
    assert host.component("sets/five", {"count": 6}, "source").count == 6


LOADER = '''
from dataflare import Source
from dataflare_host import Loader

class Cobol(Loader):
    """Loads COBOL."""
    def components(self, manifest, host):
        class Payroll(Source):
            """Guest code."""
            def read(self, split): yield {"n": [1]}
        return [Payroll]
'''


def test_a_runtime_is_loaded_by_the_loader_of_its_name(site):
    site.install("cobol", '[components.loader]\ncobol = "testplugin_cobol.load:Cobol"\n', load=LOADER)
    site.install("old", "[components.source]\npayroll = {}\nabsent = {}\n", runtime="cobol")
    table = Host.start({"cobol", "old"}).table()
    assert table.find("source", "old/payroll").load().spec.summary == "Guest code."
    with pytest.raises(ConfigError, match="found no source `absent`"):
        table.find("source", "old/absent").load()


def test_a_runtime_that_nobody_loads_is_told(site):
    site.install("old", "[components.source]\npayroll = {}\n", runtime="cobol")
    with pytest.raises(ConfigError, match=r"plugin\.no_loader"):
        Host.start({"old"}).table().find("source", "old/payroll").load()


def test_a_table_never_changes(table):
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.generation = 2


def test_the_kinds_without_a_plugin_are_those_of_sdk_and_host():
    import dataflare.store
    import dataflare_host.kinds

    ours = ("dataflare.", "dataflare_host.")
    made = {kind: f"{base.__module__}:{base.__name__}" for kind, base in kinds().items()}
    assert made | KINDS == made
    assert {kind for kind, base in made.items() if base.startswith(ours)} == set(KINDS)
    table = Host.start(()).table()
    assert table.base("store") is dataflare.store.Store
    assert table.base("mode") is dataflare_host.kinds.Mode


def test_a_kind_has_one_maker(site):
    site.install("first", '[kinds]\npolicy = "testplugin_first:Policy"\n')
    site.install("second", '[kinds]\npolicy = "testplugin_second:Policy"\n')
    site.install("third", '[kinds]\nsource = "testplugin_third:Source"\n')
    table = Host.start({"first", "second", "third"}).table()
    assert not table.plugins
    assert {(each.id, each.problems[0].code) for each in table.faulty if each.id in ("first", "second", "third")} == {
        ("first", "plugin.kind_conflict"),
        ("second", "plugin.kind_conflict"),
        ("third", "plugin.kind_conflict"),
    }


def test_components_of_an_unknown_kind_are_told(site):
    site.install("shop", TABLE.replace("components.source", "components.sorce"), parts=PARTS)
    table = Host.start({"shop"}).table()
    found = [problem for problem in table.problems() if problem.code == "plugin.unknown_kind"]
    assert [problem.fix for problem in found] == ["did you mean `source`?"]
    assert table.find("sink", "shop/ledger").load().spec.summary == "Keeps."
    with pytest.raises(ConfigError, match="no plugin makes the kind `sorce`"):
        table.base("sorce")
