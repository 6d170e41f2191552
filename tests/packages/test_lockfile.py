"""A lock is the same bytes for the same facts, and is read as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare import ConfigError
from dataflare_packages.lockfile import FILE, Lock, Locked, LockedFile, Source, lock_of, read_lock

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
filled = texts.filter(bool)
rules = st.lists(st.dictionaries(names, st.one_of(filled, st.lists(filled, max_size=2)), max_size=2), max_size=2)
plugins = st.builds(
    Locked,
    version=filled,
    index=texts,
    runtime=texts,
    publisher=st.dictionaries(names, texts, max_size=2),
    requires=st.dictionaries(names, texts, max_size=3),
    grants=st.dictionaries(names, rules, max_size=2),
    files=st.lists(st.builds(LockedFile, filled, filled, st.integers(1, 9)), max_size=2).map(tuple),
)
locks = st.builds(
    Lock,
    wanted=st.dictionaries(names, texts, max_size=2),
    indexes=st.dictionaries(names, st.builds(Source, filled, st.integers(1, 9)), max_size=2),
    plugins=st.dictionaries(names, plugins, max_size=3),
    host=st.dictionaries(names, filled, max_size=2),
)


@given(locks)
def test_a_lock_is_read_as_it_was_written_and_written_as_it_was_read(lock: Lock) -> None:
    read = lock_of(lock.text())
    assert read == lock
    assert read.text() == lock.text()


def test_order_does_not_matter(tmp_path: Path) -> None:
    one, two = Locked("1.0", requires={"x": "", "y": ">1"}), Locked("2.0")
    first = Lock(wanted={"a": "", "b": ""}, plugins={"a": one, "b": two})
    second = Lock(wanted={"b": "", "a": ""}, plugins={"b": two, "a": Locked("1.0", requires={"y": ">1", "x": ""})})
    assert first.text() == second.text()
    assert first.write(tmp_path)
    assert not second.write(tmp_path)


def test_what_is_no_lock_is_refused_and_none_is_none(tmp_path: Path) -> None:
    assert read_lock(tmp_path) is None
    for text in ("format = 9", "nonsense", "format = 1\n[plugins.a]\nversion = '1'\nother = 2"):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_lock(tmp_path)
        assert caught.value.code == "lock.syntax"
