"""Plain values pass exactly as the model would pass them, and nothing passes that the model refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dataflare import Bytes, Columns, Duration, Expr, Processor, Secret, field
from dataflare.config import model_of
from dataflare.fields import fields_of
from dataflare.plain import plain_json, plain_values


@dataclass(frozen=True)
class Pace:
    """What a field may hold as a whole."""

    beat: Duration = 1.0
    names: tuple[str, ...] = ("a",)


class Step(Processor):
    """One field of each plain type."""

    text: str = field(default="a", min_length=1, max_length=5)
    count: int = field(default=1, ge=0, lt=1000)
    ratio: float = field(default=0.5, gt=0, le=9)
    fast: bool = False
    maybe: int | None = None
    unsaid: str = field(default=None, max_length=3)
    names: list[str] = []
    columns: Columns = ()
    size: Bytes = field(default=4096, ge=10)
    wait: Duration = 1.5
    where: Expr = "n > 0"
    table: dict[str, int] = {}
    anything: Any = None
    word: Literal["one", "two"] = "one"
    either: list[str] | dict[str, str] | None = None
    pace: Pace = Pace()
    perhaps: Pace | None = None
    where_fast: str = field(when={"fast": True})


NAMES = list(fields_of(Step))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2000)
    | st.floats(allow_nan=True)
    | st.sampled_from(["", "a", "abcdef", "5", "1KiB", "2s", "one", "two", "three", "\ud800"])
)
VALUES = (
    SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(SCALARS.filter(lambda v: v == v), SCALARS, max_size=2)
)


@given(given=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_what_passes_is_what_the_model_gives(given: dict[str, Any]) -> None:
    found = plain_values(fields_of(Step), given)
    try:
        model = model_of(Step)(**given)
    except ValidationError:
        assert found is None
        return
    if found is not None:
        assert repr(found) == repr({name: getattr(model, name) for name in NAMES})
        shown = plain_json(fields_of(Step), found)
        if shown is not None:
            assert repr(shown) == repr(model.model_dump(mode="json", warnings=False))


@pytest.mark.parametrize(
    "given", [{}, {"text": "abc", "count": 3, "columns": "a", "size": "1MiB", "wait": "2s", "names": ["a"]}]
)
def test_usual_configurations_are_plain(given: dict[str, Any]) -> None:
    found = plain_values(fields_of(Step), given)
    assert found is not None
    assert plain_json(fields_of(Step), found) is not None


def test_other_types_are_left_to_the_model() -> None:
    class Safe(Processor):
        """Holds a secret."""

        key: Secret

    assert plain_values(fields_of(Safe), {"key": "x"}) is None
