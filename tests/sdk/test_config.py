"""Configuration: checked values from annotations, mistakes as problems, JSON Schema, and back to JSON."""

import warnings
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar, Literal, TypedDict

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import (
    Bytes,
    Codec,
    Columns,
    Duration,
    Expr,
    Processor,
    Secret,
    Sink,
    Source,
    State,
    Uses,
    field,
    source,
    state,
    tool,
)
from dataflare.config import choices_of, dump, input_schema, json_schema, renamed_fields, validate_input
from dataflare.declare import component_class
from dataflare.errors import ConfigError, Problem


class Mode(Enum):
    APPEND = "append"
    UPSERT = "upsert"


@dataclass
class Gzip:
    type: Literal["gzip"]
    level: int = 6


@dataclass
class Zstd:
    type: Literal["zstd"]
    threads: int = 1


class Window(TypedDict, total=False):
    size: int


class Login(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    user: str
    password: Secret


class Files(Sink, ability="staged"):
    """Writes files."""

    path: Path
    rows: int = field(default=10_000, help="Rows at a time.", ge=1, le=50_000, advanced=True)
    block: Bytes = 8
    every: Duration | None = None
    key: Columns = ()
    where: Expr = ""
    mode: Mode = Mode.APPEND
    format: str = field(default="jsonl", choices=["jsonl", "csv"], was="kind")
    delimiter: str = field(default=",", when={"format": "csv"}, max_length=1)
    header: bool = True
    ratio: float = 0.5
    pack: Gzip | Zstd | None = None
    window: Window = {}
    login: Login | None = None
    tags: dict[str, list[int]] = {}
    either: int | str = 0
    kept: ClassVar[int] = 5
    _private: int = 3
    codec: Uses[Codec] | None = None


def problems(make) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        make()
    return list(caught.value.problems)


def one(**config) -> Problem:
    [problem] = problems(lambda: Files(**{"path": "x", **config}))
    return problem


def test_values_become_what_the_annotations_say():
    files = Files(
        path="a/b.csv", block="16MiB", every="1m30s", key="id", mode="upsert", rows="500", either="7", ratio=1
    )
    assert files.path == Path("a/b.csv")
    assert (files.block, files.every, files.key) == (16 * 1024**2, 90.0, ("id",))
    assert (files.mode, files.rows, files.either, files.ratio) == (Mode.UPSERT, 500, "7", 1.0)
    assert files.kept == 5


def test_nested_configuration():
    files = Files(
        path="x", pack={"type": "zstd", "threads": 2}, window={"size": 3}, login={"user": "a", "password": "b"}
    )
    assert files.pack == Zstd("zstd", 2)
    assert files.window == {"size": 3}
    assert files.login.password.get() == "b"


def test_python_values_are_taken_as_they_are():
    files = Files(path=Path("x"), pack=Gzip("gzip", 9), mode=Mode.UPSERT, key=["a", "b"])
    assert (files.pack, files.mode, files.key) == (Gzip("gzip", 9), Mode.UPSERT, ("a", "b"))


@pytest.mark.parametrize(
    ("config", "code", "pointer", "words"),
    [
        ({"rows": "many"}, "config.type", "/rows", "must be a whole number"),
        ({"rows": True}, "config.value", "/rows", "expected a number, not true or false"),
        ({"rows": 5.5}, "config.type", "/rows", "must be a whole number"),
        ({"rows": 0}, "config.bound", "/rows", "must be at least 1"),
        ({"rows": 50_001}, "config.bound", "/rows", "must be at most 50000"),
        ({"header": 1}, "config.value", "/header", "expected true or false"),
        ({"header": "yes"}, "config.value", "/header", "expected true or false"),
        ({"where": 5}, "config.type", "/where", "must be a text"),
        ({"block": "16 parsecs"}, "config.value", "/block", "unknown unit"),
        ({"every": "soon"}, "config.value", "/every", "expected a duration"),
        ({"every": -1}, "config.value", "/every", "from 0 on"),
        ({"key": ["a", 5]}, "config.type", "/key/1", "item 1 of `key` must be a text"),
        ({"mode": "upser"}, "config.choice", "/mode", "cannot be"),
        ({"format": "cvs"}, "config.choice", "/format", "cannot be `cvs`"),
        ({"delimiter": ";"}, "config.not_applicable", "/delimiter", "only where `format` is `csv`"),
        ({"format": "csv", "delimiter": ";;"}, "config.bound", "/delimiter", "at most 1 characters"),
        ({"pack": {"type": "gzp"}}, "config.choice", "/pack/type", "cannot be `gzp`"),
        ({"pack": {"level": 5}}, "config.missing", "/pack", "`type` of `pack` is missing"),
        ({"pack": {"type": "gzip", "level": "x"}}, "config.type", "/pack/level", "a whole number"),
        ({"pack": {"type": "gzip", "levle": 5}}, "config.unknown_field", "/pack/levle", "there is no field"),
        ({"window": {"sise": 5}}, "config.unknown_field", "/window/sise", "there is no field"),
        ({"login": {"user": "a"}}, "config.missing", "/login/password", "`password` is missing"),
        ({"tags": {"a/b": [1, "x"]}}, "config.type", "/tags/a~1b/1", "item 1 of `a/b` must be a whole number"),
        ({"either": []}, "config.type", "/either", "must be a whole number or a text"),
        ({"codec": 5}, "config.value", "/codec", "expected the name of a codec"),
        ({"pth": "y"}, "config.unknown_field", "/pth", "there is no field `pth`"),
    ],
)
def test_a_mistake_has_a_code_a_place_and_a_fix(config, code, pointer, words):
    problem = one(**config)
    assert (problem.code, problem.pointer) == (code, pointer)
    assert words in problem.message
    assert problem.fix
    assert "pydantic" not in problem.render()
    assert "Input should" not in problem.render()


def test_fixes_name_the_nearest():
    assert one(format="cvs").fix == "write `csv`"
    assert one(mode="upser").fix == "write `upsert`"
    assert one(pack={"type": "gzp"}).fix == "write `gzip`"
    assert one(pack={"type": "gzip", "levle": 5}).fix == "write `level`"
    assert one(window={"sise": 5}).fix == "write `size`"
    assert one(rosw=5).fix == "write `rows`"
    assert one(where=5).fix == "put it into quotes"


def test_every_mistake_is_told_at_once():
    found = problems(lambda: Files(rows="x", block="y", nonsense=1))
    assert {problem.pointer for problem in found} == {"/rows", "/block", "/nonsense", "/path"}


def test_a_misspelt_field_is_not_told_to_be_missing_too():
    assert [problem.code for problem in problems(lambda: Files(pathh="x"))] == ["config.unknown_field"]


def test_a_required_field_with_a_condition():
    class Target(Sink):
        kind_of: str = "file"
        table: str = field(when={"kind_of": ("sql", "lake")})
        loud: bool = field(default=False, when=lambda config: config["kind_of"] == "file")

    assert Target().table is None
    assert Target(kind_of="sql", table="t").table == "t"
    assert [p.code for p in problems(lambda: Target(kind_of="lake"))] == ["config.missing"]
    assert [p.code for p in problems(lambda: Target(kind_of="sql", table="t", loud=True))] == ["config.not_applicable"]
    assert dump(Target()) == {"kind_of": "file", "loud": False}


def test_choices_may_depend_on_the_other_fields():
    class Query(Source):
        database: str = "shop"
        tables: tuple[str, ...] = field(
            default=(), choices=lambda config: {"shop": ["orders", "items"]}.get(config["database"], [])
        )

    assert Query(tables=["orders"]).tables == ("orders",)
    assert choices_of(Query, "tables", {}) == ["orders", "items"]
    assert choices_of(Query, "tables", {"database": "x"}) == []
    assert choices_of(Query, "database", {}) is None
    [problem] = problems(lambda: Query(tables=["orders", "item"]))
    assert (problem.code, problem.fix) == ("config.choice", "write `items`")
    assert json_schema(Query)["properties"]["tables"]["x-dynamic-choices"] is True


def test_old_names_are_still_taken():
    with pytest.warns(DeprecationWarning, match="`kind` is now called `format`"):
        assert Files(path="x", kind="csv").format == "csv"
    assert renamed_fields(Files, {"kind": "csv", "path": "x"}) == {"kind": "format"}
    assert one(kind="csv", format="csv").code == "config.renamed"


def test_secrets_are_never_shown():
    class Shop(Source):
        dsn: Secret

    shop = Shop(dsn="postgres://secret")
    assert shop.dsn.get() == "postgres://secret"
    assert "postgres" not in f"{shop.dsn!r} {shop.dsn} {dump(shop)}"
    assert dump(Shop(dsn="${secret:DSN}")) == {"dsn": "${secret:DSN}"}
    assert "12345" not in problems(lambda: Shop(dsn=12345))[0].render()
    assert [p.code for p in problems(lambda: Shop(**dump(shop)))] == ["config.value"]
    with pytest.raises(ConfigError, match=r"config\.secret_unresolved"):
        Shop(dsn="${secret:DSN}").dsn.get()
    assert Shop(dsn=Secret("there", "DSN")).dsn.get() == "there"
    assert json_schema(Shop)["properties"]["dsn"]["x-secret"] is True


def test_another_component_as_configuration():
    files = Files(path="x", codec={"uses": "std/csv", "with": {"delimiter": ";"}})
    assert (files.codec.uses, files.codec.config, files.codec.kind) == ("std/csv", {"delimiter": ";"}, "codec")
    assert Files(path="x", codec="std/csv").codec.config == {}
    assert dump(files)["codec"] == {"uses": "std/csv", "with": {"delimiter": ";"}}
    with pytest.raises(ConfigError, match=r"config\.uses_unresolved"):
        files.codec.get()
    files.codec.bind(Codec())
    assert isinstance(files.codec.get(), Codec)


def test_subclasses_inherit_and_change_fields():
    class Lines(Files):
        rows = 7
        extra: int = 1

    lines = Lines(path="x")
    assert (lines.rows, lines.extra, lines.format) == (7, 1, "jsonl")
    assert next(iter(json_schema(Lines)["properties"])) == "path"


def test_state_is_not_configuration():
    class Dedupe(Processor, by="key"):
        key: Columns
        seen: State[bool] = state()

    assert list(json_schema(Dedupe)["properties"]) == ["key"]


def test_fields_that_cannot_be():
    class Untyped(Source):
        rows = field(default=1)

    class Hiding(Source):
        splits: int = 4

    class Foreign(Source):
        thing: "threading.Lock"  # noqa: F821

    class Opaque(Source):
        thing: warnings.WarningMessage

    for cls, words in (
        (Untyped, "has no type"),
        (Hiding, "another name"),
        (Foreign, "cannot be read"),
        (Opaque, "plain"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            cls(thing=None)
        assert caught.value.code == "plugin.config_type"


def test_any_other_name_is_good():
    class Odd(Source):
        schema: dict[str, str] = {}
        model_config: int = 1
        json: bool = False
        copy: str = field(default="a", max_length=2)

    with warnings.catch_warnings(action="error"):
        odd = Odd(schema={"a": "int"}, model_config=2, json=True, copy="b")
    assert dump(odd) == {"schema": {"a": "int"}, "model_config": 2, "json": True, "copy": "b"}
    assert list(json_schema(Odd)["properties"]) == list(dump(odd))
    found = problems(lambda: Odd(schema=5, copy="abc"))
    assert {problem.pointer for problem in found} == {"/schema", "/copy"}


def test_unknown_bounds_are_refused():
    with pytest.raises(ConfigError, match=r"no `minimum`"):
        field(default=1, minimum=0)


@source
def numbers(position: int = 0, *, count: int = field(default=3, ge=0, help="How many."), step: int = 1):
    """Whole numbers."""
    yield {"n": range(count)}, count


def test_functions_are_configured_by_what_stands_after_the_star():
    cls = component_class(numbers)
    assert cls(count=5).count == 5
    assert [problem.pointer for problem in problems(lambda: cls(count=-1))] == ["/count"]
    assert list(numbers()) == [({"n": range(3)}, 3)], "called as a function, the field's default counts"
    assert dump(cls()) == {"count": 3, "step": 1}


def test_the_schema_is_what_editors_and_forms_need():
    schema = json_schema(Files)
    assert schema["$schema"].endswith("2020-12/schema")
    assert (schema["title"], schema["description"]) == ("files", "Writes files.")
    assert schema["required"] == ["path"]
    assert schema["additionalProperties"] is False
    rows = schema["properties"]["rows"]
    assert (rows["description"], rows["minimum"], rows["x-advanced"]) == ("Rows at a time.", 1, True)
    assert schema["properties"]["format"]["enum"] == ["jsonl", "csv"]
    assert schema["properties"]["delimiter"]["x-when"] == {"format": "csv"}
    assert schema["properties"]["block"]["format"] == "bytes"


def test_the_input_of_a_tool():
    @tool
    def tax_of(net: float, ctx, host: str = "a", days: tuple[int, ...] = (1,), *, rates: dict[str, float]) -> float:
        """The tax on a net price."""
        return net

    cls = component_class(tax_of)
    assert list(input_schema(cls)["properties"]) == ["net", "host", "days"]
    assert list(json_schema(cls)["properties"]) == ["rates"]
    assert validate_input(cls, {"net": "5"}) == {"net": 5.0, "host": "a", "days": (1,)}
    found = problems(lambda: validate_input(cls, {"net": "five", "dayz": 1}))
    assert {problem.pointer for problem in found} == {"/net", "/dayz"}


configs = st.fixed_dictionaries(
    {"path": st.sampled_from(["a", "b/c.jsonl"])},
    optional={
        "rows": st.integers(1, 50_000),
        "block": st.integers(0, 2**40) | st.sampled_from(["1MB", "16MiB", "0.5KiB"]),
        "every": st.none() | st.sampled_from(["500ms", "1s", 2, "1h30m"]),
        "key": st.text(min_size=1) | st.lists(st.text()),
        "mode": st.sampled_from(["append", "upsert"]),
        "format": st.sampled_from(["jsonl", "csv"]),
        "header": st.booleans(),
        "pack": st.none() | st.fixed_dictionaries({"type": st.sampled_from(["gzip", "zstd"])}),
        "tags": st.dictionaries(st.text(), st.lists(st.integers())),
        "either": st.integers() | st.text(),
    },
)


@given(configs)
def test_what_is_dumped_configures_the_same(config):
    files = Files(**config)
    again = Files(**dump(files))
    assert dump(again) == dump(files)
    assert vars(again) == vars(files)
