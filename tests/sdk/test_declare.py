"""What a component says of itself, and which mistakes show at import."""

import inspect
import sys
import types
from typing import ClassVar

import pytest

from dataflare import (
    Batch,
    Component,
    ConfigError,
    Processor,
    Sink,
    Source,
    command,
    field,
    processor,
    sink,
    source,
    tool,
)
from dataflare.declare import component_class, components_in, kinds, normalise


@source
def numbers(position: int = 0, *, count: int = 3):
    """Whole numbers from zero.

    More of it.
    """
    for n in range(position, count):
        yield {"n": [n]}, n + 1


def test_a_decorated_function_stays_an_ordinary_function():
    assert inspect.isfunction(numbers)
    assert list(numbers(position=1)) == [({"n": [1]}, 2), ({"n": [2]}, 3)]
    assert inspect.signature(numbers).parameters["count"].default == 3


def test_the_spec_of_a_function():
    spec = component_class(numbers).spec
    assert (spec.kind, spec.name, spec.summary) == ("source", "numbers", "Whole numbers from zero.")
    assert spec.doc.endswith("More of it.")
    assert spec["replay"] is None


def test_the_spec_of_a_class_and_of_its_subclass():
    class JsonLines(Sink, ability="staged", aliases=("json_l",), version=3, lanes=1, deprecated="use files"):
        """One file of JSON lines an epoch."""

    class HTTPLines(JsonLines, fencing="lock"):
        pass

    assert JsonLines.spec.name == "json-lines"
    assert JsonLines.spec.aliases == ("json-l",)
    assert JsonLines.spec.deprecated == "use files"
    assert HTTPLines.spec.name == "http-lines"
    assert HTTPLines.spec["ability"] == "staged", "abilities are inherited"
    assert HTTPLines.spec["fencing"] == "lock"
    assert (HTTPLines.spec.version, HTTPLines.spec.lanes) == (3, 1)
    assert (HTTPLines.spec.aliases, HTTPLines.spec.deprecated, HTTPLines.spec.summary) == ((), None, "")


def test_a_name_may_be_given():
    class Some(Source, name="Other_name"):
        pass

    @processor(name="with_vat2")
    def with_vat(batch: Batch) -> Batch:
        return batch

    assert Some.spec.name == "other-name"
    assert component_class(with_vat).spec.name == "with-vat2"


@pytest.mark.parametrize(
    ("written", "canonical"), [("with_vat", "with-vat"), ("with-vat", "with-vat"), (" With Vat ", "with-vat")]
)
def test_names_have_one_form(written, canonical):
    assert normalise(written) == canonical


def refused(make) -> str:
    with pytest.raises(ConfigError) as caught:
        make()
    return str(caught.value)


def test_configuration_before_the_star_is_refused_with_these_words():
    def make():
        @source
        def counted(count: int = 3):
            yield {"n": range(count)}

    message = refused(make)
    assert "`count` is not passed by the engine: put it after `*`" in message
    assert "plugin.parameter" in message


def test_an_operation_of_a_class_asks_only_for_what_is_passed():
    def make():
        class Counted(Source):
            def read(self, split, cursor):
                yield {"n": [1]}

    assert "`cursor` is not passed by the engine: make it an attribute" in refused(make)


def test_any_argument_is_no_declaration():
    def make():
        @sink
        def anything(batch, **options):
            pass

    assert "takes any argument" in refused(make)


def test_unknown_keywords_name_the_nearest():
    def make():
        class Files(Sink, abilty="staged"):
            pass

    assert "write `ability`" in refused(make)


@pytest.mark.parametrize(
    "declared",
    [
        {"ability": "sometimes"},
        {"version": 0},
        {"version": "2"},
        {"lanes": 0},
        {"aliases": "one"},
        {"clears": "pii"},
        {"commits": True},
    ],
)
def test_wrong_words_are_refused(declared):
    assert "plugin.declaration" in refused(lambda: types.new_class("Files", (Sink,), declared))


def test_decorators_stand_before_functions():
    assert "a class derives from `Source`" in refused(lambda: source(type("Numbers", (), {})))


def test_tools_and_commands_take_their_own_input_before_the_star():
    @tool
    def tax_of(net: float, country: str = "FR", *, rates: dict[str, float]) -> float:
        """The tax on a net price."""
        return net * rates[country]

    @command(group="state")
    def inspect_it(host, flow: str):
        """Show a flow's state."""

    assert tax_of(10, rates={"FR": 0.2}) == 2
    assert component_class(tax_of).spec.kind == "tool"
    assert component_class(inspect_it).spec["group"] == "state"


def test_only_components_are_components():
    assert component_class(Source) is None
    assert component_class(Component) is None
    assert component_class(len) is None
    assert component_class(5) is None


def test_a_third_party_makes_a_kind_and_components_of_it():
    class ConflictPolicy(Component, kind="conflict-policy", abilities={"ordered": False}):
        """Decides between two writers."""

    class LastWins(ConflictPolicy, ordered=True):
        """The later write wins."""

    assert kinds()["conflict-policy"] is ConflictPolicy
    assert component_class(ConflictPolicy) is None
    assert (LastWins.spec.kind, LastWins.spec["ordered"]) == ("conflict-policy", True)
    assert "use True or False" in refused(lambda: types.new_class("Odd", (ConflictPolicy,), {"ordered": 1}))
    assert "has no ability `order`" in refused(lambda: types.new_class("Odd", (ConflictPolicy,), {"order": 1}))


def test_a_kind_has_one_base_and_a_canonical_name():
    class Alarm(Component, kind="alarm"):
        pass

    assert "plugin.kind_conflict" in refused(lambda: types.new_class("Other", (Component,), {"kind": "alarm"}))
    assert 'kind="my-alarm"' in refused(lambda: types.new_class("Other", (Component,), {"kind": "My_alarm"}))
    hiding = {"kind": "alarm2", "abilities": {"lanes": 1}}
    assert "`lanes`" in refused(lambda: types.new_class("Other", (Component,), hiding))


def test_the_components_of_a_module_are_those_it_makes_itself():
    module = types.ModuleType("acme_shop")
    sys.modules["acme_shop"] = module
    try:
        exec(
            "from dataflare import Source, source\n"
            "from dataflare.component import Sink\n"
            "class Orders(Source):\n  pass\n"
            "class _Base(Source):\n  pass\n"
            "@source\ndef numbers():\n  yield {}\n"
            "again = numbers\n",
            vars(module),
        )
        assert [cls.spec.name for cls in components_in(module)] == ["orders", "numbers"]
    finally:
        del sys.modules["acme_shop"]


def test_abilities_cannot_be_changed_afterwards():
    class Steady(Processor, deterministic=False):
        note: ClassVar[str] = "not configuration"

    with pytest.raises(TypeError):
        Steady.spec.declared["deterministic"] = True


def test_a_field_cannot_have_the_name_of_the_kind():
    with pytest.raises(ConfigError, match="cannot be called `kind`"):

        @tool
        def shaped(*, kind: str = field(default="x", choices=["x", "y"])):
            """Something."""
