"""Layers over stores: nothing readable below, every key and layer in its place, rotation without a pause."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.checkpoint import Changes, Checkpoint, Letter, StateChange
from dataflare.context import Context
from dataflare.errors import StateError
from dataflare.store import Store
from dataflare_state.memory import Memory
from dataflare_state.pages import Page, due, tier

from .conftest import LAYERS, change, checkpoint, held, host, letter, open_store

ZSTD = {"uses": "state/zstd"}


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def ring(path: Path, *lines: str) -> Path:
    """A keyring file."""
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def encrypting(path: Path, **config: Any) -> dict[str, Any]:
    """The layer that encrypts with the keys of a file."""
    return {
        "uses": "state/aes-gcm",
        "with": {"keyring": {"uses": "state/keyring-file", "with": {"path": str(path)}}, **config},
    }


def opened(base: Path, layers: list[dict[str, Any]], kind: str = "sqlite") -> Store:
    store: Store = host().store({"uses": f"state/{kind}", "layers": layers}, base)
    store.open(Context(base=base))
    return store


def begun(store: Store) -> Store:
    """A store with one epoch of everything."""
    store.lease("f", "r", "o", 0)
    first = checkpoint(1, snapshots={"s": {"0": "c2VjcmV0" * 4000}}, made={"out": {"slot": "secret-slot"}})
    first.splits["read"][0].position = {"after": "secret-position"}
    changes = Changes([change("secret-key", '"secret-value"')], [letter(rows=b"secret-row", split="secret-split")])
    store.commit(first, changes, 1)
    return store


def refused(work: Callable[[], Any], code: str) -> StateError:
    with pytest.raises(StateError) as error:
        work()
    assert error.value.code == code, error.value
    problem = error.value.problems[0]
    assert problem.cause
    assert problem.fix
    return error.value


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_nothing_that_may_hold_data_is_readable_below(kind: str, tmp_path: Path) -> None:
    store = begun(open_store(f"sealed-{kind}", tmp_path))
    lost = replace(letter(), message="secret-message", place={"line": "secret-place"})
    store.commit(checkpoint(2, tokens={"out": {"0": "secret-token"}}), Changes([], [lost]), 1)
    store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" not in kept
    assert base64.b64encode(b"secret")[:-2] not in kept
    reader = open_store(f"sealed-{kind}", tmp_path)
    assert held(reader) == {"secret-key": '"secret-value"'}
    assert {found.message for found in reader.letters("f")} == {"not good", "secret-message"}


OTHERS: list[list[dict[str, Any]]] = [[], [ZSTD], LAYERS[1:], LAYERS[::-1], [*LAYERS, ZSTD]]


@pytest.mark.parametrize("layers", OTHERS)
@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_other_layers_are_refused(layers: list[dict[str, Any]], kind: str, tmp_path: Path) -> None:
    begun(open_store(f"sealed-{kind}", tmp_path))
    other = opened(tmp_path, layers, kind)
    if layers:
        reads: list[Callable[[], Any]] = [
            lambda: other.load("f", "r"),
            lambda: held(other),
            lambda: list(other.letters("f")),
            lambda: other.commit(checkpoint(2), Changes(), 1),
        ]
        for read in reads:
            assert "state/zstd" in str(refused(read, "state.layers"))
    else:
        found = other.load("f", "r")
        assert found
        assert found.layers == ["state/zstd", "state/aes-gcm"]


def test_a_plain_store_is_not_opened_with_layers(tmp_path: Path) -> None:
    begun(open_store("sqlite", tmp_path))
    refused(lambda: opened(tmp_path, LAYERS).load("f", "r"), "state.layers")
    refused(lambda: list(opened(tmp_path, LAYERS).letters("f")), "state.layers")


def test_keys_are_rotated_without_a_pause(tmp_path: Path) -> None:
    old, new, path = f"old: {key()}", f"new: {key()}", tmp_path / "ring"
    ring(path, old)
    writer = begun(opened(tmp_path, [encrypting(path, renew=0)]))
    ring(path, old, new)
    writer.commit(checkpoint(2), Changes([change("k", "2")]), 1)
    reader = opened(tmp_path, [encrypting(path)])
    assert set(held(reader)) == {"secret-key", "k"}
    ring(path, new)
    only_new = opened(tmp_path, [encrypting(path)])
    assert only_new.load("f", "r")
    error = refused(lambda: held(only_new), "state.key_missing")
    assert error.problems[0].details == {"key": "old"}
    ring(path, f"old: {key()}", new)
    error = refused(lambda: held(opened(tmp_path, [encrypting(path)])), "state.key_wrong")
    assert error.problems[0].details == {"key": "old"}


@pytest.mark.parametrize("way", ["other epoch", "other flow", "older page", "other letter"])
def test_sealed_content_does_not_open_elsewhere(way: str, tmp_path: Path) -> None:
    below = Memory(name=str(tmp_path))
    below.open(Context(base=tmp_path))
    store = begun(opened(tmp_path, LAYERS, "memory"))
    del store
    config = {"uses": "state/memory", "with": {"name": str(tmp_path)}, "layers": LAYERS}
    store = host().store(config, tmp_path)
    store.open(Context(base=tmp_path))
    begun(store)
    store.commit(checkpoint(2), Changes([change("secret-key", "2")], [replace(letter("odd"), rows=b"x")]), 1)
    inner = below.load("f", "r")
    assert inner
    if way in ("other epoch", "other flow"):
        moved: Checkpoint = replace(inner, epoch=3) if way == "other epoch" else replace(inner, flow="g")
        below.lease("g", "r", "o", 0)
        below.commit(moved, Changes(), 1)
        refused(lambda: store.load(moved.flow, "r"), "state.corrupt")
        return
    if way == "older page":
        pages = {found: value for found, value, _ in below.state("f", "r", "s", "seen/0")}
        swapped = [StateChange("s", "seen/0", 0, b"2-0", pages[b"1-0"])]
        room = below._held.regions["f", "r"]
        below._apply(room, swapped)
        refused(lambda: held(store), "state.corrupt")
        return
    first, second = below._held.letters
    below._held.letters[:] = [replace(first, rows=second.rows), second]
    refused(lambda: list(store.letters("f")), "state.corrupt")


def test_a_large_snapshot_that_stays_is_kept_once(tmp_path: Path) -> None:
    store = open_store("sealed-sqlite", tmp_path)
    store.lease("f", "r", "o", 0)
    snapshot = base64.b64encode(random.Random(1).randbytes(300_000)).decode()
    for epoch in range(1, 5):
        store.commit(checkpoint(epoch, snapshots={"s": {"0": snapshot}}), Changes(), 1)
    assert store.load("f", "r") == checkpoint(4, snapshots={"s": {"0": snapshot}})
    store.close()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.db*")) < 900_000


keys = st.integers(0, 30).map(lambda number: f"k{number}")
epochs = st.lists(st.dictionaries(keys, st.one_of(st.none(), st.text(max_size=3)), max_size=6), max_size=90)


@given(epochs)
def test_pages_hold_what_the_keys_last_were(changed: list[dict[str, str | None]]) -> None:
    name = os.urandom(8).hex()
    store = host().store({"uses": "state/memory", "with": {"name": name}, "layers": [ZSTD]}, Path())
    store.open(Context())
    store.lease("f", "r", "o", 0)
    expected: dict[str, str] = {}
    kept: dict[int, dict[str, str]] = {}
    for epoch, keys in enumerate(changed):
        store.commit(checkpoint(epoch), Changes([change(key, value) for key, value in keys.items()]), 1)
        store.settle("f", "r", epoch, 1)
        store.prune("f", "r", 4)
        expected = {key: value for key, value in {**expected, **keys}.items() if value is not None}
        kept[epoch] = expected
    assert held(store) == expected
    at: Any = store
    for info in store.history("f", "r"):
        then = {key.decode(): value.decode() for key, value, _ in at.state("f", "r", "s", "seen", epoch=info.epoch)}
        assert then == kept[info.epoch]


@given(st.lists(st.sampled_from([1, 10, 30_000, 200_000]), max_size=300))
def test_merging_keeps_few_pages_and_little_that_is_of_no_use(sizes: list[int]) -> None:
    run: list[Page] = []
    for rows in sizes:
        run.append(Page("s", "n", "1-0", tier(rows), "", rows))
        start = due(run)
        merged = sum(page.rows for page in run[start:])
        run[start:] = [Page("s", "n", "1-0", tier(merged), "", merged)]
        assert len(run) <= 64
        assert sum(page.rows for page in run[1:]) <= max(run[0].rows, sum(page.rows for page in run[-8:]))


def test_a_key_is_rewritten_once_a_level() -> None:
    run, written = [Page("s", "n", "0-0", tier(10_000_000), "", 10_000_000)], 0
    for _ in range(512):
        run.append(Page("s", "n", "1-0", tier(10_000), "", 10_000))
        start = due(run)
        merged = sum(page.rows for page in run[start:])
        written += merged
        run[start:] = [Page("s", "n", "1-0", max(tier(merged), *(page.level for page in run[start:])), "", merged)]
    assert written <= 512 * 10_000 * 4


def test_many_letters_and_their_filters(tmp_path: Path) -> None:
    store = begun(open_store("sealed-sqlite", tmp_path))
    store.commit(checkpoint(2), Changes([], [letter("odd", step="t") for _ in range(5)]), 1)
    found: list[Letter] = list(store.letters("f", step="t", code="odd", limit=3))
    assert [replace(one, id=0) for one in found] == [letter("odd", step="t")] * 3


def below_of(name: str, base: Path) -> tuple[Memory, Store]:
    """A store in memory, and the same under layers."""
    below = Memory(name=name)
    below.open(Context(base=base))
    store: Store = host().store({"uses": "state/memory", "with": {"name": name}, "layers": LAYERS}, base)
    store.open(Context(base=base))
    return below, store


def test_a_page_of_another_life_does_not_open(tmp_path: Path) -> None:
    (below, store), (other, _) = (below_of(name, tmp_path) for name in ("one", "two"))
    begun(store)
    begun(below_of("two", tmp_path)[1])
    room = below._held.regions["f", "r"]
    pages = {key: value for key, value, _ in other.state("f", "r", "s", "seen/0")}
    below._apply(room, [StateChange("s", "seen/0", 0, b"1-0", pages[b"1-0"])])
    refused(lambda: held(store), "state.corrupt")


def test_pages_that_no_kept_epoch_names_are_forgotten(tmp_path: Path) -> None:
    below, store = below_of("one", tmp_path)
    store.lease("f", "r", "o", 0)
    for epoch in range(200):
        store.commit(checkpoint(epoch), Changes([change(str(epoch % 20), str(epoch))]), 1)
        store.settle("f", "r", epoch, 1)
        store.prune("f", "r", 3)
    rows = [key for step, name in below.states("f", "r") for key, _, _ in below.state("f", "r", step, name)]
    assert len(rows) < 24
    assert held(store) == {str(epoch % 20): str(epoch) for epoch in range(180, 200)}
