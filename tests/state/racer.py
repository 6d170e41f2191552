"""Run by test_crash.py: takes the lease and commits until it dies or is fenced.

``python racer.py KIND FOLDER NAME CONFIG``: waits for a line with the newest token, takes the lease once (prints
``lease TOKEN`` or ``fenced``), then, after another line, commits epoch after epoch, each with keys and a letter, and
prints each number once it is committed.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from dataflare.checkpoint import Changes, Checkpoint, Letter, StateChange
from dataflare.context import Context
from dataflare.errors import Fenced


def main(kind: str, folder: Path, name: str, config: str) -> None:
    store = getattr(import_module(f"dataflare_state.{kind}"), kind.capitalize())(**json.loads(config))
    store.open(Context(base=folder))
    print("ready", flush=True)
    above = int(sys.stdin.readline())
    try:
        token = store.lease("f", "r", name, above)
    except Fenced:
        print("fenced", flush=True)
        return
    print("lease", token, flush=True)
    if not sys.stdin.readline():
        return
    last = store.load("f", "r")
    epoch = last.epoch + 1 if last else 0
    while True:
        keys = [StateChange("s", "seen", 0, str(number).encode(), str(epoch).encode()) for number in range(50)]
        lost = Letter("f", "r", "s", str(epoch), "no", epoch, 1, b"rows")
        try:
            store.commit(Checkpoint("f", "r", "i", epoch), Changes(keys, [lost]), token)
            store.settle("f", "r", epoch, token)
            store.prune("f", "r", 3)
        except Fenced:
            print("fenced", flush=True)
            return
        print(epoch, flush=True)
        epoch += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
