"""The bill of materials of a lock is as the official schema of CycloneDX has it (`pip install ".[test]"` brings it)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare_packages.bill import bill_of
from dataflare_packages.lockfile import Lock, Locked, LockedFile
from dataflare_worker.pylock import Wheel

from .conftest import Answer


def wrong(bill: Any) -> Any:
    """What the official schema has against a bill."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))


ids = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
files = st.builds(LockedFile, st.text(min_size=1), digests, st.integers(1, 9))
locked = st.builds(
    Locked,
    version=st.sampled_from(["1.0.0", "2.0rc1", "1!3+local"]),
    index=st.text(),
    runtime=st.sampled_from(["wasm", "python"]),
    publisher=st.fixed_dictionaries({"identity": st.text()}),
    requires=st.dictionaries(ids, st.text(), max_size=3),
    files=st.lists(files, max_size=3, unique_by=lambda file: file.name).map(tuple),
)
wheels = st.builds(Wheel, distribution=ids, version=st.just("1.0"), name=st.text(min_size=1), sha256=digests)


@settings(max_examples=60)
@given(
    st.dictionaries(ids, locked, max_size=3),
    st.dictionaries(ids, st.just("1.0.0"), max_size=2),
    st.dictionaries(st.just("") | ids, st.lists(wheels, max_size=3), max_size=2),
    st.text(),
)
def test_the_bill_of_any_lock_is_as_the_official_schema_has_it(
    plugins: dict[str, Locked], host: dict[str, str], others: dict[str, list[Wheel]], name: str
) -> None:
    own = {each: version for each, version in host.items() if each not in plugins}
    bill = bill_of(Lock({**dict.fromkeys(plugins, ""), **own}, plugins=plugins, host=own), name, others)
    assert wrong(bill) is None
    known = [part["bom-ref"] for part in [bill["metadata"]["component"], *bill["components"]]]
    assert len(known) == len({*known})
    assert {ref for each in bill["dependencies"] for ref in (each["ref"], *each["dependsOn"])} <= {*known}


def test_what_is_printed_is_such_a_bill(
    publish: Callable[..., Path], project: Path, answer: Answer, capsys: Any
) -> None:
    publish("left", "1.0.0", {"right": "", "std": ""})
    publish("right", "1.0.0")
    assert answer("add", "left")[0] == 0
    told = answer("sbom")[1]
    assert wrong(told) is None
    assert {part["name"] for part in told["components"]} >= {"dataflare-left", "dataflare-right", "dataflare-std"}
