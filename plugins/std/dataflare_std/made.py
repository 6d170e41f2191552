"""Made-up columns: what the words of ``std/generate`` mean, computed from row numbers alone.

A value depends on seed, column name and row number only, so a replay gives equal rows however batches are cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zlib import crc32

from dataflare import ConfigError, Problem
from dataflare.types import parse_duration

if TYPE_CHECKING:
    import pyarrow as pa

Maker = Callable[["pa.Int64Array", "Bits"], "pa.Array"]
"""Row numbers and their random bits → the values of a column."""
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstv" for vowel in "aeiou"]


@dataclass(frozen=True)
class Bits:
    """Random 64-bit numbers for row numbers, the same for the same seed and column."""

    seed: int

    def of(self, rows: pa.Int64Array, round: int = 0) -> pa.UInt64Array:
        """One number a row (the mixing function of splitmix64); ``round`` gives further independent ones."""
        import pyarrow as pa
        import pyarrow.compute as pc

        start = (self.seed + round * 0xD1342543DE82EF95) % 2**64
        bits = pc.add(pc.multiply(rows.cast(pa.uint64()), _number(0x9E3779B97F4A7C15)), _number(start))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            bits = pc.multiply(pc.bit_wise_xor(bits, pc.shift_right(bits, _number(shift))), _number(factor))
        return pc.bit_wise_xor(bits, pc.shift_right(bits, _number(31)))

    def below(self, rows: pa.Int64Array, limit: int, round: int = 0) -> pa.Int64Array:
        """One whole number from 0 to ``limit`` - 1 a row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        bits = pc.shift_right(self.of(rows, round), _number(1))
        quotient = pc.divide(bits, _number(limit))
        return pc.subtract(bits, pc.multiply(quotient, _number(limit))).cast(pa.int64())

    def fraction(self, rows: pa.Int64Array) -> pa.DoubleArray:
        """One number from 0 up to, not including, 1 a row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        return pc.multiply(pc.shift_right(self.of(rows), _number(11)).cast(pa.float64()), 2.0**-53)


@dataclass(frozen=True)
class Made:
    """A column to make: its Arrow type and how."""

    type: pa.DataType
    make: Maker


def made_columns(words: Mapping[str, str], seed: int) -> dict[str, tuple[Made, Bits]]:
    """The columns that these words describe. Raises ConfigError (``generate.column``) for every one not understood."""
    columns: dict[str, tuple[Made, Bits]] = {}
    problems: list[Problem] = []
    for name, word in words.items():
        try:
            columns[name] = _column(word), Bits((seed * 0x9E3779B97F4A7C15 + crc32(name.encode())) % 2**64)
        except (ValueError, OverflowError) as error:
            problems.append(_not_understood(name, word, error))
    if problems:
        raise ConfigError(*problems)
    return columns


def _column(text: str) -> Made:
    found = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if found is None or found[1] not in WORDS:
        raise ValueError("the words are " + ", ".join(f"`{form}`" for form, _ in WORDS.values()))
    given = [part.strip() for part in (found[2] or "").split(",")] if (found[2] or "").strip() else []
    return WORDS[found[1]][1](given)


def _sequence(given: list[str]) -> Made:
    import pyarrow as pa
    import pyarrow.compute as pc

    _at_most(2, given)
    start, step = [*(int(part) for part in given), *(0, 1)[len(given) :]]
    return Made(pa.int64(), lambda rows, bits: pc.add(pc.multiply(rows, step), start))


def _int(given: list[str]) -> Made:
    import pyarrow as pa
    import pyarrow.compute as pc

    _range(given)
    low, high = (int(part) for part in given)
    return Made(pa.int64(), lambda rows, bits: pc.add(bits.below(rows, high - low + 1), low))


def _float(given: list[str]) -> Made:
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high = _range(given)
    return Made(pa.float64(), lambda rows, bits: pc.add(pc.multiply(bits.fraction(rows), high - low), low))


def _choice(given: list[str]) -> Made:
    import pyarrow as pa

    if not given:
        raise ValueError("it needs at least one value to choose from")
    values = pa.array(given, pa.string())
    return Made(pa.string(), lambda rows, bits: values.take(bits.below(rows, len(given))))


def _text(given: list[str]) -> Made:
    import pyarrow as pa
    import pyarrow.compute as pc

    length = int(given[0]) if given else 8
    if len(given) > 1 or not 1 <= length <= 1000:
        raise ValueError("it takes one length from 1 to 1000")
    syllables = pa.array(SYLLABLES, pa.string())

    def make(rows: pa.Int64Array, bits: Bits) -> pa.Array:
        parts = [syllables.take(bits.below(rows, len(SYLLABLES), round)) for round in range((length + 1) // 2)]
        return pc.utf8_slice_codeunits(pc.binary_join_element_wise(*parts, ""), 0, length)

    return Made(pa.string(), make)


def _bool(given: list[str]) -> Made:
    import pyarrow as pa
    import pyarrow.compute as pc

    _at_most(0, given)
    return Made(pa.bool_(), lambda rows, bits: pc.equal(bits.below(rows, 2), 1))


def _time(given: list[str]) -> Made:
    import pyarrow as pa
    import pyarrow.compute as pc

    _at_most(2, given)
    start = datetime.fromisoformat(given[0]) if given else datetime(2026, 1, 1, tzinfo=UTC)
    if start.tzinfo is None:
        start = start.replace(tzinfo=UTC)
    first = (start - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    step = round(parse_duration(given[1] if len(given) > 1 else "1s") * 1e6)
    kind = pa.timestamp("us", "UTC")
    return Made(kind, lambda rows, bits: pc.add(pc.multiply(rows, step), round(first * 1e6)).cast(kind))


WORDS: dict[str, tuple[str, Callable[[list[str]], Made]]] = {
    "sequence": ("sequence(start, step)", _sequence),
    "int": ("int(low, high)", _int),
    "float": ("float(low, high)", _float),
    "choice": ("choice(a, b, c)", _choice),
    "text": ("text(length)", _text),
    "bool": ("bool", _bool),
    "time": ("time(2026-01-01T00:00:00Z, 1s)", _time),
}


def _range(given: list[str]) -> tuple[float, float]:
    if len(given) != 2:
        raise ValueError("it needs the lowest and the highest value")
    low, high = float(given[0]), float(given[1])
    if not low <= high or not high - low < 2**62:
        raise ValueError("the first value must not be above the second")
    return low, high


def _at_most(most: int, given: list[str]) -> None:
    if len(given) > most:
        raise ValueError(
            f"it takes at most {most} values, not {len(given)}" if most else "it takes nothing in brackets"
        )


def _number(value: int) -> pa.UInt64Scalar:
    import pyarrow as pa

    return pa.scalar(value, pa.uint64())


def _not_understood(name: str, word: str, error: Exception) -> Problem:
    return Problem(
        "generate.column",
        f"`{word}` does not say how to make the column `{name}`",
        pointer=f"/columns/{name}",
        cause=str(error),
        fix="write for example `float(-10, 40)`, `choice(a, b)`, `sequence` or `time(2026-01-01T00:00:00Z, 1s)`",
    )
