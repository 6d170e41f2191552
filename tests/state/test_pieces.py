"""Which pieces of keyed state become one: few stay, little is out of date, and a key is not written each epoch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataflare_state.pieces import mergeable


def merged(sizes: list[int], most: int) -> tuple[list[int], int]:
    """Pieces after epochs of these sizes, of which no more than ``most`` bytes are not out of date; bytes written."""
    kept: list[int] = []
    written = 0
    for size in sizes:
        start = mergeable([*kept, size])
        whole = sum(kept[start:]) + size
        if start < len(kept):
            whole = min(whole, most)
        kept = [*kept[:start], whole]
        written += whole
    return kept, written


@given(st.lists(st.integers(0, 2**34), min_size=1, max_size=400), st.integers(1, 2**40))
def test_few_pieces_stay_and_no_small_one_is_older_than_a_large_one(sizes: list[int], most: int) -> None:
    kept, _ = merged(sizes, most)
    tiers = [max(size.bit_length() - 1, 0) // 3 for size in kept]
    assert tiers == sorted(tiers, reverse=True)
    assert len(kept) <= 8 * len(set(tiers))
    assert sum(kept[1:]) <= max(kept[0], 9 * max(kept[1:], default=0))


@given(st.integers(1, 2**20), st.integers(1, 3))
def test_epochs_that_change_a_hundredth_write_a_few_times_what_they_change(size: int, times: int) -> None:
    count = 300 * times
    kept, written = merged([100 * size] + [size] * count, 100 * size)
    assert written < 6 * size * (100 + count)
    assert sum(kept) <= 210 * size
