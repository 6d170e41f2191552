"""Words of a configuration, and Python types as Arrow types."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal, NotRequired, TypedDict
from uuid import UUID

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Duration, arrow_type, schema_of
from dataflare.errors import ConfigError
from dataflare.types import parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("1s", 1),
        ("2m", 120),
        ("1h", 3600),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1.5 h", 5400),
        ("250us", 0.00025),
        ("10", 10),
        (0, 0),
        (2.5, 2.5),
        ("1min", 60),
        ("1w", 604800),
        ("1H", 3600),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 parsec", "s", "1s2", "1s junk", True, None, -1, float("nan")])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match=r"expected|unknown unit"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16MiB", 16 * 1024**2),
        ("1MB", 10**6),
        ("1kB", 1000),
        ("1 KiB", 1024),
        ("512", 512),
        ("1.5GiB", 3 * 2**29),
        (0, 0),
        (7, 7),
        (8.0, 8),
        ("9b", 9),
        ("2k", 2000),
        ("1TB", 10**12),
    ],
)
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "much", "-1", "1 MIB B", "1XB", True, None, -1, 1.5])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=r"expected|unknown unit"):
        parse_bytes(text)


@given(st.integers(0, 10**6), st.sampled_from(["us", "ms", "s", "m", "h", "d", "w"]))
def test_a_unit_multiplies(number, unit):
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * parse_duration(f"1{unit}"))


class Colour(Enum):
    RED = "red"


class Place(TypedDict):
    name: str
    line: NotRequired[int]


class Person(pydantic.BaseModel):
    name: str


@dataclass
class Reading:
    id: int
    at: datetime
    site: Place | None
    tags: list[str]
    price: Decimal
    kind: Literal["a", "b"]


@pytest.mark.parametrize(
    ("python", "arrow"),
    [
        (int, pa.int64()),
        (float, pa.float64()),
        (str, pa.string()),
        (bool, pa.bool_()),
        (bytes, pa.binary()),
        (datetime, pa.timestamp("us", "UTC")),
        (date, pa.date32()),
        (time, pa.time64("us")),
        (timedelta, pa.duration("us")),
        (Decimal, pa.decimal128(38, 9)),
        (UUID, pa.string()),
        (Colour, pa.string()),
        (Literal["a", "b"], pa.string()),
        (int | None, pa.int64()),
        (int | float, pa.float64()),
        (list[int], pa.list_(pa.int64())),
        (tuple[str, ...], pa.list_(pa.string())),
        (set[bytes], pa.list_(pa.binary())),
        (dict[str, list[int]], pa.map_(pa.string(), pa.list_(pa.int64()))),
        (Annotated[int, pa.int8()], pa.int8()),
        (Duration, pa.float64()),
        (pa.int16(), pa.int16()),
        (Person, pa.struct([("name", pa.string())])),
        (list[Place], pa.list_(pa.struct([("name", pa.string()), ("line", pa.int64())]))),
    ],
)
def test_arrow_types(python, arrow):
    assert arrow_type(python) == arrow


def test_the_schema_of_a_class():
    schema = schema_of(Reading)
    assert schema.names == ["id", "at", "site", "tags", "price", "kind"]
    assert schema.type("site") == pa.struct([("name", pa.string()), ("line", pa.int64())])
    assert all(column.nullable for column in schema)
    assert schema_of(Person).names == ["name"]


@pytest.mark.parametrize("python", [int | str, Literal["a", 1], object, complex, "text"])
def test_types_without_an_arrow_type_are_refused(python):
    with pytest.raises(ConfigError) as caught:
        arrow_type(python)
    assert caught.value.code == "schema.python_type"
    assert caught.value.problems[0].fix


def test_only_classes_with_fields_describe_rows():
    with pytest.raises(ConfigError, match=r"schema\.python_type"):
        schema_of(int)
