"""Plugins that give no examples, wrong ones, or are not what their wheel says."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from dataflare import ConfigError
from dataflare_verify.configs import refused
from dataflare_verify.subject import opened
from dataflare_verify.trying import outcomes

HONEST = Path(__file__).parent / "honest" / "dataflare_honest"
CODE = '''
"""A plugin."""
import pyarrow.compute as pc
from dataflare import Batch, processor, source

@source
def numbers(position: int = 0, *, count: int, step: int = 10):
    """Whole numbers."""
    for start in range(position, count, step):
        yield {"n": range(start, min(start + step, count))}, min(start + step, count)

@processor(cardinality="one")
def with_vat(batch: Batch, *, rate: float = 0.2) -> Batch:
    """Adds `gross`."""
    return batch.with_column("gross", pc.multiply(batch["net"], 1 + rate))

@processor(each="row", cardinality="LIE")
def euros(row: dict, *, rate: float = 0.2) -> dict | None:
    """The price in euros."""
    if row["currency"].upper() == "D":
        return None
    return {**row, "price": row["price"] * rate}
'''


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A plugin without examples."""
    package = tmp_path / "dataflare_plain"
    package.mkdir()
    manifest = (HONEST / "dataflare.toml").read_text().replace('"honest"', '"plain"').replace("_honest", "_plain")
    (package / "dataflare.toml").write_text(manifest)
    (package / "__init__.py").write_text(CODE.replace("LIE", "filter"))
    return package


def failed(plugin: Path, only: str = "") -> list[tuple[str, str]]:
    with opened(plugin, "inline") as subject:
        return [(each.component, each.case) for each in outcomes(subject, only) if not each.held]


def test_columns_and_configurations_are_guessed(plain: Path) -> None:
    assert failed(plain) == []


def test_a_lie_is_found_without_an_example(plain: Path) -> None:
    (plain / "__init__.py").write_text(CODE.replace("LIE", "one"))
    assert ("processor:euros", "a-row-is-passed-or-refused") in failed(plain, "euros/")


def test_a_guess_that_does_not_do_says_so(plain: Path) -> None:
    code = (plain / "__init__.py").read_text()
    (plain / "__init__.py").write_text(code.replace('row["currency"]', 'row["currency"]["code"]'))
    with opened(plain, "inline") as subject:
        (found,) = outcomes(subject, "euros/it-takes-the-rows")
    assert "[[processor.euros]] in verify.toml" in found.wrong


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("[[source.numbers]]\ncount = 1", "/source/numbers/0/count"),
        ("[[sauce.numbers]]", "/sauce"),
        ("[[source.numbers]]\nconfig = 1", "/source/numbers/0/config"),
        ("[[processor.euros]]\nrows = [1]", "/processor/euros/0"),
        ('[[processor.euros]]\nrows = [{ a = "x" }]\ntypes = { a = "int63" }', "/processor/euros/0"),
        ('[[processor.euros]]\nrows = "none.jsonl"', "/processor/euros/0"),
        ("[[source", ""),
    ],
)
def test_wrong_examples_are_told_with_their_place(plain: Path, text: str, pointer: str) -> None:
    (plain / "verify.toml").write_text(text)
    with opened(plain, "inline") as subject, pytest.raises(ConfigError) as caught:
        list(outcomes(subject, "plugin/"))
    assert (caught.value.code, caught.value.problems[0].pointer) == ("verify.examples", pointer)


def test_an_example_of_nothing_is_told(plain: Path) -> None:
    (plain / "verify.toml").write_text("[[source.letters]]")
    assert failed(plain, "plugin/") == [("plugin", "its-manifest-says-what-it-is")]


def test_a_table_that_is_old_is_told(plain: Path) -> None:
    with opened(plain, "inline") as subject:
        told = subject.ask(op="describe").header
    (plain / "components.json").write_text(json.dumps(told))
    assert failed(plain, "plugin/") == []
    told["components"][0]["summary"] = "something else"
    (plain / "components.json").write_text(json.dumps(told))
    assert failed(plain, "plugin/") == [("plugin", "its-table-is-what-its-code-says")]


@pytest.mark.parametrize(
    ("name", "version", "entry", "holds"),
    [
        ("dataflare-plain", "0.1.0", "plain = dataflare_plain", True),
        ("dataflare-other", "0.1.0", "plain = dataflare_plain", False),
        ("dataflare-plain", "0.2.0", "plain = dataflare_plain", False),
        ("dataflare-plain", "0.1.0", "other = dataflare_plain", False),
    ],
)
def test_a_wheel_is_what_its_manifest_says(plain: Path, name: str, version: str, entry: str, holds: bool) -> None:
    wheel = plain.parent / "dataflare_plain-0.1.0-py3-none-any.whl"
    info = "dataflare_plain-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in plain.iterdir():
            archive.write(file, f"dataflare_plain/{file.name}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/entry_points.txt", f"[dataflare.plugins]\n{entry}\n")
        archive.writestr(f"{info}/RECORD", "")
    shutil.rmtree(plain)
    wanted = [] if holds else [("plugin", "its-wheel-is-what-its-manifest-says")]
    assert failed(wheel, "plugin/") == wanted


def test_where_there_is_no_plugin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught, opened(tmp_path):
        pass
    assert caught.value.code == "verify.no_plugin"


def test_configurations_that_a_schema_refuses() -> None:
    schema = {
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {"type": "string", "minLength": 2},
            "rows": {"type": "integer", "minimum": 1, "maximum": 10},
            "form": {"type": "string", "enum": ["csv", "jsonl"]},
            "columns": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": False,
    }
    reasons = [why for why, _ in refused(schema, {"path": "ab"})]
    assert "`path` is missing" in reasons
    assert "it has a field that is not known" in reasons
    assert {"`rows` is 0", "`rows` is 11", "`form` is 'x-none-of-these'", "`path` is 'x'"} <= set(reasons)
    assert all(config != {"path": "ab"} for _, config in refused(schema, {"path": "ab"}))
