"""Arrow types by the names that the vectors use, and random Arrow data."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

VECTORS = Path(__file__).parent.parent / "vectors"

_PLAIN = {
    "time[s]": pa.time32("s"),
    "time[ms]": pa.time32("ms"),
    "time[us]": pa.time64("us"),
    "time[ns]": pa.time64("ns"),
    "date32": pa.date32(),
    "date64": pa.date64(),
    "string_view": pa.string_view(),
    "null": pa.null(),
}


def arrow_type_named(name: str) -> pa.DataType:
    if name in _PLAIN:
        return _PLAIN[name]
    if found := re.fullmatch(r"dictionary<(.+)>", name):
        return pa.dictionary(pa.int8(), arrow_type_named(found[1]))
    if found := re.fullmatch(r"fixed_size_list<(.+)>\[(\d+)\]", name):
        return pa.list_(arrow_type_named(found[1]), int(found[2]))
    if found := re.fullmatch(r"list<(.+)>", name):
        return pa.list_(arrow_type_named(found[1]))
    if found := re.fullmatch(r"struct<(.+)>", name):
        pairs = [part.split(": ") for part in found[1].split(", ")]
        return pa.struct([(key, arrow_type_named(kind)) for key, kind in pairs])
    if found := re.fullmatch(r"map<(\w+), (.+)>", name):
        return pa.map_(arrow_type_named(found[1]), arrow_type_named(found[2]))
    if found := re.fullmatch(r"timestamp\[(\w+)(?:, (.+))?\]", name):
        return pa.timestamp(found[1], found[2])
    if found := re.fullmatch(r"duration\[(\w+)\]", name):
        return pa.duration(found[1])
    if found := re.fullmatch(r"decimal(128|256)\((\d+), (-?\d+)\)", name):
        return getattr(pa, f"decimal{found[1]}")(int(found[2]), int(found[3]))
    if found := re.fullmatch(r"fixed_size_binary\[(\d+)\]", name):
        return pa.binary(int(found[1]))
    return getattr(pa, name if name != "bool" else "bool_")()


@pytest.fixture(scope="session")
def type_named():
    return arrow_type_named


@pytest.fixture(scope="session")
def vectors():
    def load(name: str) -> list[dict]:
        return json.loads((VECTORS / f"{name}.json").read_text())

    return load
