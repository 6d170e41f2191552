"""The source `files`, through its driver: every row once, from every position, and every bad line named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as arrow_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare import Context, Schema
from dataflare.drive import NO_POSITION, SourceDriver, driver_for
from dataflare.errors import ConfigError, DataflareError
from dataflare.split import Demand, Refused, Resume, Split
from dataflare_std.files.source import Files


@dataclass
class Seen:
    """What a source gave."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    positions: list[tuple[Split, Any, int]] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    schema: pa.Schema | None = None

    def codes(self) -> list[tuple[str, int]]:
        return [(item.code, item.place["line"]) for item in self.refused]


def opened(base: Path, **config: Any) -> SourceDriver:
    driver = driver_for(Files(**config), Context(base=base))
    assert isinstance(driver, SourceDriver)
    driver.open(Resume())
    return driver


def read_split(driver: SourceDriver, split: Split, position: Any, seen: Seen, columns: Any = None) -> None:
    for reading in driver.read(split, position, Demand(1 << 20, 1 << 30, 0.0), columns):
        seen.refused += reading.refused
        if reading.batch is not None:
            seen.rows += reading.batch.to_rows()
            seen.schema = reading.batch.schema
        if reading.position is not NO_POSITION:
            seen.positions.append((split, json.loads(json.dumps(reading.position)), len(seen.rows)))


def read(base: Path, read_columns: Any = None, agreed: Schema | None = None, **config: Any) -> Seen:
    driver, seen = opened(base, **config), Seen()
    driver.agreed = agreed
    try:
        for splits, _ in driver.splits(None, frozenset()):
            for split in splits:
                seen.splits.append(split)
                read_split(driver, split, split.start, seen, read_columns)
    finally:
        driver.close()
    return seen


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_ranges_cover_a_file_and_are_smaller_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.touch()
    for size in (1, 8 << 20, (177 << 20) + 5):
        os.truncate(path, size)
        ((splits, _),) = opened(tmp_path, path="a.jsonl", schema={"n": "int"}).splits(None, frozenset())
        ends = [split.data["end"] for split in splits]
        assert [split.start["offset"] for split in splits] == [0, *ends[:-1]]
        assert ends[-1] == size
        sizes = [split.size or 0 for split in splits]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes[-2:]) <= 8 << 20


@pytest.mark.parametrize("block", [4096, 8192])
def test_the_last_line_of_a_range_comes_with_the_lines_before_it(tmp_path: Path, block: int) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*({"n": number} for number in range(2000))))
    seen = read(tmp_path, path="a.jsonl", split_size=block, block=block)
    assert [row["n"] for row in seen.rows] == list(range(2000))
    assert len(seen.positions) == len(seen.splits)


# --- every row once --------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=40)
objects = st.fixed_dictionaries({"n": st.integers(-(2**63), 2**63 - 1), "t": texts})


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(objects, min_size=1, max_size=60),
    split_size=st.integers(1, 400),
    newline=st.booleans(),
    crlf=st.booleans(),
    bom=st.booleans(),
)
def test_ranges_of_any_size_give_each_json_line_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], split_size: int, newline: bool, crlf: bool, bom: bool
) -> None:
    base = tmp_path_factory.mktemp("ranges")
    ending = b"\r\n" if crlf else b"\n"
    data = ending.join(json.dumps(row, ensure_ascii=False).encode() for row in rows) + (ending if newline else b"")
    (base / "a.jsonl").write_bytes((b"\xef\xbb\xbf" if bom else b"") + data)
    seen = read(base, path="a.jsonl", split_size=split_size, block=4096)
    assert (seen.rows, seen.refused) == (rows, [])
    assert len({split.id for split in seen.splits}) == len(seen.splits)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), min_size=3, max_size=40), split_size=st.integers(1000, 30_000))
def test_reading_goes_on_exactly_behind_every_position(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], split_size: int
) -> None:
    base = tmp_path_factory.mktemp("resume")
    rows = [{"n": number, "t": "x" * size} for number, size in enumerate(sizes)]
    (base / "a.jsonl").write_bytes(lines(*rows))
    whole = read(base, path="a.jsonl", split_size=split_size, block=4096)
    assert whole.rows == rows
    for split, position, done in whole.positions:
        driver, rest = opened(base, path="a.jsonl", split_size=split_size, block=4096), Seen()
        read_split(driver, split, position, rest)
        driver.close()
        ends = [count for other, _, count in whole.positions if other.id == split.id]
        assert rest.rows == rows[done : max(ends)]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-(2**53), 2**53), texts), min_size=1, max_size=40),
    split_size=st.integers(1, 300),
)
def test_csv_fields_survive_quotes_commas_and_newlines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]], split_size: int
) -> None:
    base = tmp_path_factory.mktemp("csv")
    quoted = "".join('{},"{}"\n'.format(number, text.replace('"', '""')) for number, text in rows)
    (base / "a.csv").write_bytes(("n,t\n" + quoted).encode())
    seen = read(base, path="a.csv", split_size=split_size, block=4096, schema={"n": "int", "t": "text"})
    assert [(row["n"], row["t"]) for row in seen.rows] == rows
    assert seen.refused == []


def test_csv_without_newlines_in_fields_is_read_in_ranges_and_only_the_first_has_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,t\n" + "".join(f"{n},x{n}\n" for n in range(500)))
    seen = read(tmp_path, path="a.csv", multiline=False, split_size=700)
    assert [row["n"] for row in seen.rows] == list(range(500))
    assert len(seen.splits) > 3


def test_parquet_goes_on_behind_every_position(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(1000)), "t": ["x"] * 1000})
    arrow_parquet.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    whole = read(tmp_path, path="a.parquet", split_size=1)
    assert [row["n"] for row in whole.rows] == list(range(1000))
    assert [split.id for split in whole.splits][:2] == ["a.parquet#groups=0-1", "a.parquet#groups=1-2"]
    one = read(tmp_path, path="a.parquet", ordered=True)
    assert len(one.splits) == 1
    for split, position, done in one.positions:
        driver, rest = opened(tmp_path, path="a.parquet", ordered=True), Seen()
        read_split(driver, split, position, rest)
        driver.close()
        assert [row["n"] for row in rest.rows] == list(range(done, 1000))


def test_a_parquet_position_inside_a_row_group_is_exact(tmp_path: Path) -> None:
    arrow_parquet.write_table(pa.table({"n": list(range(150_000))}), tmp_path / "a.parquet")
    whole = read(tmp_path, path="a.parquet")
    split, position, done = whole.positions[0]
    assert position["row"] == done < 150_000
    driver, rest = opened(tmp_path, path="a.parquet"), Seen()
    read_split(driver, split, position, rest)
    driver.close()
    assert [row["n"] for row in rest.rows] == list(range(done, 150_000))


def test_folders_globs_and_lists_name_each_file_once_relative_to_the_flow(tmp_path: Path) -> None:
    for name in ("in/b.jsonl", "in/a.jsonl", "in/.hidden.jsonl", "other/c.jsonl", "in/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines({"f": name}))
    seen = read(tmp_path, path=["in", "in/*.jsonl", "other/c.jsonl"])
    assert [row["f"] for row in seen.rows] == ["in/a.jsonl", "in/b.jsonl", "other/c.jsonl"]
    assert seen.splits[0].id == f"in/a.jsonl#0-{(tmp_path / 'in/a.jsonl').stat().st_size}"


def test_a_second_listing_finds_only_what_was_appended_and_new_files(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines({"n": 1}))
    driver = opened(tmp_path, path="*.jsonl")
    [(first, position)] = driver.splits(None, frozenset())
    [(again, position)] = driver.splits(position, frozenset(split.id for split in first))
    assert again == []
    file.write_bytes(lines({"n": 1}, {"n": 2}))
    (tmp_path / "b.jsonl").write_bytes(lines({"n": 3}))
    [(new, _)] = driver.splits(position, frozenset())
    seen = Seen()
    for split in new:
        read_split(driver, split, split.start, seen)
    driver.close()
    assert seen.rows == [{"n": 2}, {"n": 3}]


# --- types -----------------------------------------------------------------------------------------


def big(*odd: bytes) -> bytes:
    """So many plain rows that the fast parser reads them, with odd lines in the middle (line 3001 on)."""
    plain = [b'{"n":%d,"t":"x","o":{"p":%d},"l":[%d]}' % (n, n, n) for n in range(6000)]
    return b"\n".join([*plain[:3000], *odd, *plain[3000:]]) + b"\n"


def read_after_planning(base: Path, odd: list[bytes], **config: Any) -> Seen:
    """The schema was agreed on before the odd lines came."""
    (base / "a.jsonl").write_bytes(big())
    driver = opened(base, path="a.jsonl")
    [planned] = (driver.plan() or {}).values()
    driver.close()
    (base / "a.jsonl").write_bytes(big(*odd))
    return read(base, path="a.jsonl", agreed=planned, **config)


def test_large_numbers_and_text_are_kept_exactly(tmp_path: Path) -> None:
    rows = [{"n": 2**63 - 1 - n, "t": f"2026-01-01T00:00:0{n % 10}+02:00", "z": f"0{n}"} for n in range(3000)]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    assert read(tmp_path, path="a.jsonl").rows == rows


@pytest.mark.parametrize("odd", [b'{"n":1.5,"t":"x","o":{"p":1},"l":[1]}', b'{"n":1e3,"t":"x","o":{"p":1},"l":[1]}'])
def test_a_fraction_in_a_column_of_whole_numbers_widens_it_and_is_not_rounded(tmp_path: Path, odd: bytes) -> None:
    seen = read_after_planning(tmp_path, [odd], block=65536)
    assert seen.rows[3000]["n"] == json.loads(odd)["n"]
    assert len(seen.rows) == 6001
    assert seen.refused == []


@pytest.mark.parametrize(
    ("odd", "path", "value"),
    [
        (b'{"n":1,"t":"x","o":{"p":1},"l":[1],"new":7}', ("new",), 7),
        (b'{"n":1,"t":"x","o":{"p":1,"q":"y"},"l":[1]}', ("o", "q"), "y"),
        (b'{"n":1, "new" : 7,"t":"x","o":{"p":1},"l":[1]}', ("new",), 7),
        (b'{"n":1,"new"\t:7,"t":"a\\":b","o":{"p":1},"l":[1]}', ("new",), 7),
    ],
)
def test_a_key_that_appears_late_becomes_a_column(
    tmp_path: Path, odd: bytes, path: tuple[str, ...], value: Any
) -> None:
    seen = read_after_planning(tmp_path, [odd], block=65536)
    found: Any = seen.rows[3000]
    for name in path:
        found = found[name]
    assert (found, len(seen.rows), seen.refused) == (value, 6001, [])


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        (b"{bad", "files.bad_json"),
        (b"[1]", "files.bad_json"),
        (b"null", "files.bad_json"),
        (b'{"n":1} {"n":2}', "files.bad_json"),
        (b'{"n":1,"n":2}', "files.bad_json"),
        (b'{"t":"\\ud800"}', "files.bad_json"),
        (b'{"n":' + b"9" * 5000 + b"}", "files.bad_json"),
        (b"[" * 100_000, "files.bad_json"),
        (b'{"n":' + b"[" * 200 + b"]" * 200 + b"}", "files.bad_json"),
        (b'{"new":' + b'{"x":' * 200 + b"1" + b"}" * 201, "files.bad_json"),
        (b'{"t":"\xff"}', "files.bad_utf8"),
        (b'{"n":"x"}', "files.bad_type"),
        (b'{"n":"12"}', "files.bad_type"),
        (b'{"n":true}', "files.bad_type"),
        (b'{"n":99999999999999999999}', "files.bad_type"),
        (b'{"n":[1]}', "files.bad_type"),
        (b'{"o":5}', "files.bad_type"),
        (b'{"o":{"p":"x"}}', "files.bad_type"),
        (b'{"l":5}', "files.bad_type"),
        (b'{"l":[1,"x"]}', "files.bad_type"),
        (b'{"n":"12","t":"x","o":{"p":1},"l":[1]}', "files.bad_type"),
        (b'{"n":1,"t":"x","o":{"p":"1"},"l":[1]}', "files.bad_type"),
        (b'{"n":1,"t":"x","o":{"p":1},"l":5}', "files.bad_type"),
        (b'{"n":1,"t":"x","o":{"p":1},"l":["x"]}', "files.bad_type"),
    ],
)
@pytest.mark.parametrize("block", [4096, 1 << 20])
def test_a_bad_line_is_refused_with_its_place_and_no_other_row_is_touched(
    tmp_path: Path, odd: bytes, code: str, block: int
) -> None:
    data = big(odd)
    seen = read_after_planning(tmp_path, [odd], block=block)
    assert [row["n"] for row in seen.rows] == list(range(6000))
    [refused] = seen.refused
    assert (refused.code, refused.raw) == (code, odd[:65536])
    assert refused.place == {"file": "a.jsonl", "line": 3001, "offset": data.index(b"\n" + odd) + 1}


def test_absent_keys_are_null_and_trailing_commas_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(big(b'{"n":-1}', b"", b"  ", b'{"n":-2,}'))
    seen = read(tmp_path, path="a.jsonl")
    assert seen.refused == []
    assert [row for row in seen.rows if row["n"] < 0] == [{"n": n, "t": None, "o": None, "l": None} for n in (-1, -2)]


def test_text_keeps_other_values_as_their_json(tmp_path: Path) -> None:
    odd = [b'{"n":1,"t":{"a":[1,2.5]},"o":{"p":1},"l":[1]}', b'{"n":1,"t":7}']
    seen = read_after_planning(tmp_path, odd)
    assert [seen.rows[3000]["t"], seen.rows[3001]["t"]] == ['{"a":[1,2.5]}', "7"]


def test_only_the_columns_that_are_read_matter(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(big(b'{"n":1,"o":5,"unknown":[]}', b"null"))
    seen = read(tmp_path, path="a.jsonl", read_columns=frozenset({"n"}))
    assert set(seen.rows[0]) == {"n"}
    assert (len(seen.rows), [code for code, _ in seen.codes()]) == (6001, ["files.bad_json"])


def test_a_given_schema_is_read_strictly(tmp_path: Path) -> None:
    good = {"at": "2026-01-01T00:00:00Z", "d": "2026-01-02", "p": "1.50", "b": "AP8=", "o": {"x": 1}}
    (tmp_path / "a.jsonl").write_bytes(lines(good, {**good, "at": "yesterday"}, {**good, "p": "1.555"}))
    words = {"at": "timestamp(utc)", "d": "date", "p": "decimal(10, 2)", "b": "binary", "o": {"x": "float"}}
    seen = read(tmp_path, path="a.jsonl", schema=words)
    assert [str(kind) for kind in (seen.schema or pa.schema([])).types] == [
        "timestamp[us, tz=UTC]", "date32[day]", "decimal128(10, 2)", "binary", "struct<x: double>",
    ]  # fmt: skip
    assert seen.rows[0]["b"] == b"\x00\xff"
    assert seen.codes() == [("files.bad_type", 2), ("files.bad_type", 3)]


def test_an_empty_object_is_a_row_of_nulls_or_refused_where_no_column_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{}\n{"n":1}\n{}\n')
    assert read(tmp_path, path="a.jsonl").rows == [{"n": None}, {"n": 1}, {"n": None}]
    (tmp_path / "b.jsonl").write_bytes(b"{}\n{}\n")
    seen = read(tmp_path, path="b.jsonl")
    assert (seen.rows, seen.codes()) == ([], [("files.bad_json", 1), ("files.bad_json", 2)])


def test_half_a_surrogate_pair_in_a_key_is_refused_though_it_is_in_the_sample(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"\\ud800":1}\n{"n":{"\\udc00":1}}\n{"n":"\\ud83d\\ude00"}\n')
    seen = read(tmp_path, path="a.jsonl")
    assert (seen.rows, seen.codes()) == ([{"n": "😀"}], [("files.bad_json", 1), ("files.bad_json", 2)])


def test_thousands_of_columns_are_no_trouble(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(5_000)]
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    assert read(tmp_path, path="a.csv").rows == [dict.fromkeys(names, 1)]


@pytest.mark.parametrize("count", [3, 40_000])
@pytest.mark.parametrize(
    "deep", [b'{"n":' + b"[" * 300 + b"]" * 300 + b"}", b'{"n":1,"n":' + b"[" * 300 + b"]" * 300 + b"}"]
)
def test_a_deeply_nested_line_in_the_sample_is_refused_and_decides_nothing(
    tmp_path: Path, count: int, deep: bytes
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"n":1}\n' * count + deep + b'\n{"n":2}\n')
    seen = read(tmp_path, path="a.jsonl")
    assert (len(seen.rows), seen.rows[-1], seen.codes()) == (count + 1, {"n": 2}, [("files.bad_json", count + 1)])


def test_a_few_odd_values_do_not_make_a_column_of_numbers_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*[{"n": n} for n in range(9)], {"n": "n/a"}))
    (tmp_path / "a.csv").write_text("n,zip\n" + "".join(f"{n},0{n}\n" for n in range(9)) + "n/a,1\n")
    seen, csv = read(tmp_path, path="a.jsonl"), read(tmp_path, path="a.csv")
    assert (len(seen.rows), seen.codes()) == (9, [("files.bad_type", 10)])
    assert (len(csv.rows), csv.codes()) == (9, [("files.bad_type", 11)])
    assert csv.rows[3] == {"n": 3, "zip": "03"}


def test_ragged_and_ill_typed_csv_rows_are_refused_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfid,name\r\n1,"a,\r\nb"\r\n2,b,c\r\n\r\n3\r\n4,\r\nx,"q"\r\n5,""\r\n6,e'
    )
    seen = read(tmp_path, path="a.csv", schema={"id": "int", "name": "text"})
    assert seen.rows == [
        {"id": 1, "name": "a,\r\nb"}, {"id": 4, "name": None}, {"id": 5, "name": ""}, {"id": 6, "name": "e"},
    ]  # fmt: skip
    assert seen.codes() == [("files.ragged_row", 4), ("files.ragged_row", 6), ("files.bad_type", 8)]
    assert [item.raw for item in seen.refused] == [b"2,b,c", b"3", b'x,"q"']


def test_csv_lines_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"n,t\n1,a\n2,\xff\n3,c\n4\n")
    seen = read(tmp_path, path="a.csv")
    assert [row["n"] for row in seen.rows] == [1, 3]
    assert seen.codes() == [("files.bad_utf8", 3), ("files.ragged_row", 5)]


def test_a_lone_quote_does_not_swallow_the_rest_of_a_csv_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "n,t\n" + "".join(f'{n},{n}" pipe\n' if n == 5 else f"{n},x\n" for n in range(3000))
    )
    seen = read(tmp_path, path="a.csv", block=4096, max_line=8192)
    assert [row["n"] for row in seen.rows] == list(range(3000))


# --- bad input ---------------------------------------------------------------------------------------


def test_a_long_line_is_refused_and_skipped_without_being_held(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(lines({"n": 1}))
        file.write(b'{"t":"')
        file.seek(200_000_000, os.SEEK_CUR)
        file.write(b'"}\n' + lines({"n": 2}))
    seen = read(tmp_path, path="a.jsonl", max_line="1MiB", block="64KiB", ordered=True)
    assert seen.rows == [{"n": 1}, {"n": 2}]
    [refused] = seen.refused
    assert (refused.code, refused.place["line"], len(refused.raw)) == ("files.line_too_long", 2, 65536)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_has_no_rows_and_no_known_columns(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    driver = opened(tmp_path, path=name)
    assert driver.plan()[""].open  # type: ignore[index]
    driver.close()
    assert read(tmp_path, path=name).rows == []


def test_missing_and_closed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        read(tmp_path, path="nothing.jsonl")
    assert missing.value.code == "files.missing"
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(ConfigError) as unknown:
        read(tmp_path, path="a.bin")
    assert unknown.value.code == "files.format_unknown"
    problems = driver_for(Files(path="nothing.jsonl", format="csv"), Context(base=tmp_path)).check()
    assert [problem.code for problem in problems] == ["files.missing"]


def test_wrong_type_words_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"n": 1}))
    with pytest.raises(ConfigError) as error:
        read(tmp_path, path="a.jsonl", schema={"n": "itn", "o": {"x": ["flaot"]}})
    assert [problem.pointer for problem in error.value.problems] == ["/schema/n", "/schema/o/x/0"]


def test_on_bad_fail_stops_at_the_first_bad_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"n": 1}) + b"{bad\n")
    with pytest.raises(DataflareError) as error:
        read(tmp_path, path="a.jsonl", on_bad="fail")
    assert (error.value.code, error.value.problems[0].line) == ("files.bad_json", 2)


def test_half_a_parquet_file_is_named(tmp_path: Path) -> None:
    arrow_parquet.write_table(pa.table({"n": list(range(1000))}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataflareError) as error:
        read(tmp_path, path="a.parquet")
    assert error.value.code == "files.bad_parquet"


def rewritten(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"n": 0', b'"n": 5'))


def shrunk(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:20])


def removed(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("change", [rewritten, shrunk, removed])
def test_a_changed_file_is_refused_and_never_begun_anew(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines(*[{"n": n} for n in range(1000)]))
    whole = read(tmp_path, path="a.jsonl", block=4096)
    split, position, _ = whole.positions[1]
    driver = opened(tmp_path, path="a.jsonl")
    driver.plan()
    change(file)
    with pytest.raises(DataflareError) as error:
        read_split(driver, split, position, Seen())
    driver.close()
    assert error.value.code in ("source.split_changed", "files.missing")


# --- following -----------------------------------------------------------------------------------------


class Following:
    """A followed file, read step by step."""

    def __init__(self, base: Path, **config: Any) -> None:
        self.driver = opened(base, follow=True, schema={"n": "int"}, **config)
        self.rounds = self.driver.splits(None, frozenset())
        [split] = next(self.rounds)[0]
        self.split, self.position = split, split.start
        self.steps = self.driver.read(split, split.start, Demand(1000, 1 << 20, 0.0), None)

    def until_idle(self) -> list[Any]:
        found: list[Any] = []
        for reading in self.steps:
            self.position = self.position if reading.position is NO_POSITION else reading.position
            if reading.batch is None:
                return found
            found += [row["n"] for row in reading.batch.to_rows()]
        raise AssertionError("a followed file does not end")


def test_a_followed_file_gives_whole_lines_as_they_come(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"n":1}\n{"n"')
    followed = Following(tmp_path, path="*.jsonl")
    assert followed.until_idle() == [1]
    with file.open("ab") as more:
        more.write(b':2}\n{"n":3}\n')
    assert followed.until_idle() == [2, 3]
    assert followed.until_idle() == []
    seen = Seen()
    with file.open("ab") as more:
        more.write(b'{"n":4}\n')
    again = opened(tmp_path, path="*.jsonl", follow=True, schema={"n": "int"})
    seen.rows = next(again.read(followed.split, followed.position, Demand(9, 1 << 20, 0.0), None)).batch.to_rows()  # type: ignore[union-attr]
    assert seen.rows == [{"n": 4}]
    (tmp_path / "b.jsonl").write_bytes(lines({"n": 9}))
    assert [split.id for split in next(followed.rounds)[0]] == ["b.jsonl#0-"]
    again.close()
    followed.driver.close()


def truncated(file: Path) -> None:
    file.write_bytes(b"")


def rotated(file: Path) -> None:
    data = file.read_bytes()
    file.rename(file.with_suffix(".old"))
    file.write_bytes(data)


@pytest.mark.parametrize("change", [truncated, rotated, removed])
def test_a_followed_file_that_shrinks_or_is_rotated_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines({"n": 1}, {"n": 2}))
    followed = Following(tmp_path, path="a.jsonl")
    assert followed.until_idle() == [1, 2]
    change(file)
    with pytest.raises(DataflareError) as error:
        followed.until_idle()
    followed.driver.close()
    assert error.value.code == "source.split_changed"
    assert error.value.problems[0].fix
