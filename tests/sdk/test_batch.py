"""What a batch promises: it is immutable, and knows which rows of the input its rows are."""

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import Batch, Envelope, OriginLost


def rejected(batch: Batch) -> list[tuple[str, list[int]]]:
    return [(entry.code, entry.rows.to_pylist()) for entry in batch.ledger.entries]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("filter"), st.integers(2, 4)),
        st.tuples(st.just("reverse"), st.none()),
        st.tuples(st.just("slice"), st.integers(0, 3)),
        st.tuples(st.just("column"), st.none()),
        st.tuples(st.just("reject"), st.integers(2, 5)),
    ),
    max_size=6,
)


@given(st.integers(0, 20), steps)
def test_rejects_name_rows_of_the_input_whatever_was_derived(count, plan):
    batch = Batch.of({"n": range(count)})
    expected, refused = list(range(count)), []
    for what, by in plan:
        if what == "filter":
            batch, expected = batch.filter([n % by != 0 for n in expected]), [n for n in expected if n % by]
        elif what == "reverse":
            batch, expected = batch.take(list(reversed(range(len(batch))))), expected[::-1]
        elif what == "slice":
            batch, expected = batch.slice(min(by, len(batch))), expected[by:]
        elif what == "column":
            batch = batch.with_column("m", batch["n"])
        else:
            batch = batch.reject([n % by == 0 for n in expected], f"by_{by}")
            refused += [n for n in expected if n % by == 0]
            expected = [n for n in expected if n % by]
        assert batch["n"].to_pylist() == expected
    assert [row for _, rows in rejected(batch) for row in rows] == refused


def test_a_batch_of_new_rows_cannot_reject():
    batch = Batch.of({"n": [1, 2]})
    other = batch.derived([{"n": 1}])
    with pytest.raises(OriginLost, match="reject before"):
        other.reject([True], "bad")
    assert other.reject([False], "bad") == other
    same = batch.derived([{"m": 5}, {"m": 6}]).reject([False, True], "bad")
    assert rejected(same) == [("bad", [1])]


def test_null_counts_as_false():
    batch = Batch.of({"n": [1, None, 3]})
    assert batch.filter(pc.greater(batch["n"], 1)).to_rows() == [{"n": 3}]
    assert batch.reject(pc.greater(batch["n"], 1), "big").to_rows() == [{"n": 1}, {"n": None}]


def test_columns_are_replaced_in_place_or_added_and_scalars_fill():
    batch = Batch.of({"a": [1, 2], "b": ["x", "y"]})
    assert batch.with_column("a", 5).to_columns() == {"a": [5, 5], "b": ["x", "y"]}
    assert batch.with_column("c", [0.5, 1.5]).columns == ["a", "b", "c"]
    assert batch.with_column("c", None, pa.int8()).schema.field("c").type == pa.int8()
    assert batch.rename({"a": "z"}).without("b").to_columns() == {"z": [1, 2]}
    assert batch.to_columns() == {"a": [1, 2], "b": ["x", "y"]}, "the batch itself never changes"


def test_a_batch_goes_to_other_libraries_and_comes_back():
    batch = Batch.of({"a": [1, 2], "s": ["x", None]})
    assert Batch.of(pl.DataFrame(batch)) == batch
    assert Batch.of(pa.table(batch)) == batch
    assert Batch.of(batch.to_polars()) == batch


def test_the_envelope_travels():
    batch = Batch(Batch.of({"a": [1, 2]}).arrow, Envelope(split="s", position=5))
    assert batch.slice(1).envelope.split == "s"
    assert batch.with_envelope(position=6).envelope == Envelope(split="s", position=6)
    assert [len(part) for part in batch.iter_slices(1)] == [1, 1]
