"""What can be wrong with one column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import polars as pl

Json = Any
SHOWN = 3
RARE = 0.05
"""A form that fewer of the texts have is strange where one other form has nearly all of them."""
USUAL = 0.9


def findings(column: pl.Series, *, gaps: float, spread: float) -> list[Json]:
    """``{"column", "kind", "rows", "what", "examples"?}`` for each thing that is wrong."""
    found = [*_gaps(column, gaps)]
    present = column.drop_nulls()
    if present.len():
        found += _constant(present, column.len())
        if column.dtype.is_numeric():
            found += _outliers(present, spread)
        elif column.dtype == pl.String:
            found += [*_blank(present), *_strange(present)]
    return [{"column": column.name, **each} for each in found]


def _gaps(column: pl.Series, allowed: float) -> Iterator[Json]:
    missing = column.null_count()
    if column.len() and missing / column.len() > allowed:
        yield {"kind": "gaps", "rows": missing, "what": f"{missing / column.len():.0%} of the values are missing"}


def _constant(present: pl.Series, rows: int) -> Iterator[Json]:
    if present.len() == rows > 1 and present.n_unique() == 1:
        yield {"kind": "constant", "rows": 0, "what": f"every row has {present[0]!r}"}


def _outliers(present: pl.Series, spread: float) -> Iterator[Json]:
    low, high = present.quantile(0.25), present.quantile(0.75)
    if low is None or high is None or low == high:
        return
    reach = spread * (high - low)
    far = present.filter((present < low - reach) | (present > high + reach))
    if far.len():
        what = f"far from the usual {low:g} to {high:g}"
        yield {"kind": "outliers", "rows": far.len(), "what": what, "examples": far.unique().sort().to_list()[:SHOWN]}


def _blank(present: pl.Series) -> Iterator[Json]:
    blank = int((present.str.strip_chars() == "").sum())
    if blank:
        yield {"kind": "blank", "rows": blank, "what": "texts of nothing but white space"}
    padded = int(((present.str.strip_chars() != present) & (present.str.strip_chars() != "")).sum())
    if padded:
        yield {"kind": "padded", "rows": padded, "what": "texts with white space around them"}


def _strange(present: pl.Series) -> Iterator[Json]:
    """Texts whose form (digits, letters, signs) is not that of nearly all others."""
    forms = Counter(map(_form, present.to_list()))
    usual, count = forms.most_common(1)[0]
    if len(forms) == 1 or count / present.len() < USUAL:
        return
    strange = [text for text in present.to_list() if forms[_form(text)] / present.len() < RARE and _form(text) != usual]
    if strange:
        what = f"not of the form `{usual}` that the others have"
        yield {"kind": "strange", "rows": len(strange), "what": what, "examples": sorted(set(strange))[:SHOWN]}


def _form(text: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", text.strip()))
