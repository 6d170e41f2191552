"""Run by test_crash.py: dies at the n-th step of a store's work, for every n, and looks at what is left.

``python crash.py KIND FOLDER EVERY``: prints one JSON line a death: steps, operations told, whether the rest is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from dataflare.checkpoint import Changes, Checkpoint, Letter, SplitState, StateChange
from dataflare.context import Context
from dataflare.store import Store

CALLS = ("open", "write", "fsync", "link", "rename", "replace", "unlink", "mkdir", "rmdir")
Operation = Callable[[Store], Any]


def open_store(kind: str, folder: Path) -> Store:
    store: Store = getattr(import_module(f"dataflare_state.{kind}"), kind.capitalize())()
    store.open(Context(base=folder))
    return store


def checkpoint(epoch: int) -> Checkpoint:
    splits = {"read": [SplitState(f"part-{number}", "active", epoch) for number in range(3)]}
    snapshots = {"s": {"0": "QUJD" * 2000}}
    return Checkpoint("f", "r", "i", epoch, splits=splits, snapshots=snapshots, committed_at=f"at {epoch}")


def changes(epoch: int) -> Changes:
    keys = [StateChange("s", "seen", 0, f"k{epoch % 5}".encode(), str(epoch).encode())]
    keys += [StateChange("s", "seen", 0, f"only-{epoch}".encode(), b"1"), StateChange("s", "seen", 0, b"k0", None)]
    letters = [Letter("f", "r", "s", f"code-{epoch}", "no", epoch, 1, b"rows" * epoch, at="now")]
    return Changes(keys, letters, [epoch - 2] if epoch > 2 else [])


def committing(epoch: int) -> Operation:
    return lambda store: store.commit(checkpoint(epoch), changes(epoch), token_of(store))


def token_of(store: Store) -> int:
    info = store.lease_info("f", "r")
    return info.token if info else 0


def before() -> Iterator[Operation]:
    """What is there already when the dying begins."""
    yield lambda store: store.lease("f", "r", "first", 0)
    for epoch in range(6):
        yield committing(epoch)
        yield lambda store, epoch=epoch: store.settle("f", "r", epoch, token_of(store))  # type: ignore[misc]


def operations() -> Iterator[Operation]:
    """What is done while dying; each is all or nothing."""
    yield lambda store: store.lease("f", "r", "second", 1)
    yield lambda store: store.prune("f", "r", 2)
    yield committing(6)
    yield lambda store: store.drop_letters("f", [1, 2, 5])
    yield lambda store: store.settle("f", "r", 6, 2)
    yield committing(7)
    yield lambda store: store.release("f", "r", 2)
    yield lambda store: store.lease("f", "r", "third", 2)
    yield lambda store: store.reset("f", "r", 3)
    yield committing(0)


def content(store: Store) -> Any:
    """All that the store holds, to be compared."""
    lease = store.lease_info("f", "r")
    history = [replace(info, bytes=0) for info in store.history("f", "r")]
    # The order of keys is the store's own affair.
    keys = sorted(store.state("f", "r", "s", "seen"))
    # Numbers may have gaps: one claimed by an epoch that never was is not given out again.
    letters = [replace(letter, id=0) for letter in store.letters("f", status=None)]
    epochs = [store.load("f", "r", info.epoch) for info in history]
    return [lease, history, keys, letters, store.load("f", "r"), epochs]


def expected() -> list[Any]:
    """The content after none, one, two, ... operations, by the store in memory."""
    store = open_store("memory", Path("expected"))
    for operation in before():
        operation(store)
    found = [content(store)]
    for operation in operations():
        operation(store)
        found.append(content(store))
    return found


def die_at(step: int, connect: bool) -> None:
    """From now on each call that changes something (and each instruction of SQLite) counts; the n-th kills."""
    left = [step]

    def counted(*_: Any) -> int:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **given: Any) -> Any:
            counted()
            return call(*args, **given)

        return wrapper

    if connect:
        database: Any = import_module("dataflare_state.database")
        opened = database.connect

        def connecting(*args: Any, **given: Any) -> Any:
            connection = opened(*args, **given)
            connection.set_progress_handler(counted, 1)
            return connection

        database.connect = connecting
    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def attempt(kind: str, folder: Path, step: int) -> tuple[int, bool]:
    """Do the operations in a child that dies at ``step``: how many it told, and whether it came to the end."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        tell = os.write
        die_at(step, kind == "sqlite")
        store = open_store(kind, folder)
        for operation in operations():
            operation(store)
            tell(writable, b".")
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        told = len(pipe.read())
    _, status = os.waitpid(child, 0)
    return told, os.WIFEXITED(status)


def goes_on(store: Store) -> bool:
    """A next owner can take over and commit."""
    token = store.lease("f", "r", "next", token_of(store))
    last = store.load("f", "r")
    made = replace(checkpoint(last.epoch + 1 if last else 0))
    store.commit(made, Changes([StateChange("s", "seen", 0, b"next", b"1")]), token)
    return store.load("f", "r") == made and (b"next", b"1", None) in store.state("f", "r", "s", "seen")


def main(kind: str, folder: Path, every: int) -> None:
    region: Any = import_module("dataflare_state.region")
    region.BASE_EVERY = 4
    wanted = expected()
    template = folder / "template"
    template.mkdir()
    store = open_store(kind, template)
    for operation in before():
        operation(store)
    store.close()
    for step in count(1, every):
        place = folder / "tried"
        shutil.copytree(template, place)
        told, ended = attempt(kind, place, step)
        store = open_store(kind, place)
        found = content(store)
        matches = [number for number, one in enumerate(wanted) if one == found]
        whole = any(number in (told, told + 1) for number in matches)
        print(json.dumps({"step": step, "told": told, "matches": matches, "whole": whole, "on": goes_on(store)}))
        store.close()
        shutil.rmtree(place)
        if ended:
            return


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
