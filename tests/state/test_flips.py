"""One byte of what a store keeps is changed, or its end is cut off: the content is the same, or the damage is named."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflare.checkpoint import Changes
from dataflare.errors import StateError
from dataflare.store import Store

from .conftest import change, checkpoint, letter, open_store

KINDS = ["sqlite", "file", "sealed-sqlite", "sealed-file"]


@cache
def whole(kind: str) -> tuple[Path, dict[str, Any]]:
    """A folder with a store that has some of everything, and what it holds."""
    base = Path(tempfile.mkdtemp())
    store = open_store(kind, base)
    store.lease("f", "r", '{"pid": 1}', 0)
    for epoch in range(1, 5):
        keys = [change(f"k{number}", f"{epoch}.{number}") for number in range(epoch, 30)]
        mortal = [change("mortal", "1", expires=99_999_999_999.0), change("k0", None)]
        letters = [letter(f"c{epoch}", rows=b"row" * 20), letter("bad", step="t")]
        snapshots = {"s": {"0": f"{epoch}" * 5000}}
        store.commit(checkpoint(epoch, snapshots=snapshots), Changes([*keys, *mortal], letters, [epoch - 1]), 1)
        if epoch < 4:
            store.settle("f", "r", epoch, 1)
    store.prune("f", "r", 2)
    store.drop_letters("f", [5])
    store.release("f", "r", 1)
    content = everything(store)
    store.close()
    return base, content


def everything(store: Store) -> dict[str, Any]:
    """All that a reader can get."""
    info = store.lease_info("f", "r")
    return {
        "lease": info and (info.token, info.owner),
        "last": store.load("f", "r"),
        "history": [store.load("f", "r", info.epoch) for info in store.history("f", "r")],
        "states": store.states("f", "r"),
        "keys": sorted(store.state("f", "r", "s", "seen")),
        "letters": list(store.letters("f", status=None)),
        "waiting": list(store.letters("f")),
        "of": list(store.letters("f", step="t", code="bad")),
    }


def damaged(kind: str, change: Callable[[bytes], bytes], which: int) -> Iterator[dict[str, Any]]:
    """What is read from a store of which one file is changed; nothing where the damage is named."""
    base, _ = whole(kind)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(base, folder, dirs_exist_ok=True)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and counts(path))
        path = files[which % len(files)]
        path.write_bytes(change(path.read_bytes()))
        try:
            store = open_store(kind, Path(folder))
            try:
                yield everything(store)
            finally:
                store.close()
        except StateError as error:
            refused = error.problems[0]
            if not (refused.code.startswith("state.") and refused.fix):
                raise


def counts(path: Path) -> bool:
    """Heartbeats and the like are no content; what claims numbers is looked at when letters are filed."""
    if path.name.startswith("note-"):
        return path.name.startswith("note-lasting-")  # without the others a forgotten epoch is still there
    return not path.name.startswith(("beat-", "released-")) and path.parent.name != "letters"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(which=st.integers(0, 1000), at=st.floats(0, 1, exclude_max=True), bit=st.integers(1, 255))
def test_a_changed_byte_never_gives_other_content(kind: str, which: int, at: float, bit: int) -> None:
    def flipped(content: bytes) -> bytes:
        place = int(len(content) * at)
        return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :] if content else content

    for found in damaged(kind, flipped, which):
        assert found == whole(kind)[1]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(which=st.integers(0, 1000), kept=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_never_gives_other_content(kind: str, which: int, kept: float) -> None:
    for found in damaged(kind, lambda content: content[: int(len(content) * kept)], which):
        assert found == whole(kind)[1]


def test_the_kept_content_is_what_was_put_there() -> None:
    for kind in KINDS:
        found = whole(kind)[1]
        assert found["last"] == checkpoint(4, snapshots={"s": {"0": "4" * 5000}})
        assert found["history"][1] == replace(checkpoint(3, snapshots={"s": {"0": "3" * 5000}}), settled=True)
        assert len(found["keys"]) == 30
        assert {one.status for one in found["letters"]} == {"waiting", "replayed", "dropped"}
