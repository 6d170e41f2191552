"""The store in a folder of files: for file systems that machines share, and where SQLite is not wanted.

A region is a folder with a log (``chain.py`` says why a zombie cannot write to it). A commit is one record file with
the checkpoint, the changed keys and the letters; it is written aside, made durable, and **one ``link`` is the commit
point**. Keyed state is never rewritten as a whole: changes are pieces, merged level by level (``pieces.py``).
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from dataflare import crash, field
from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, LeaseInfo, Letter, LetterStatus
from dataflare.context import Context
from dataflare.store import Store
from dataflare_state import pieces, problems, records, rules
from dataflare_state.names import quoted, unquoted
from dataflare_state.numbers import Numbers
from dataflare_state.pieces import Piece
from dataflare_state.region import Disturbed, Region, View, beat_of, intact_epoch, is_released, mark_released, move_beat

MARK = "store"
LAYOUT = 1


class File(Store, name="file"):
    """Keeps state in a folder; runners that see the same folder can share it."""

    path: str = field(default=".dataflare/state", help="The folder; relative to the folder of the flow.")

    _root: Path
    _lock: threading.RLock
    _regions: dict[tuple[str, str], Region]

    def open(self, ctx: Context) -> None:
        """Check the folder if there is one; the first write makes it. Raises StateError with the reason and a fix."""
        self._root, self._lock, self._regions = ctx.path(self.path), threading.RLock(), {}
        with problems.told(self._root):
            if self._root.exists():
                self._check()

    def lease_info(self, flow: str, region: str) -> LeaseInfo | None:
        """Who holds the region, or None."""
        with self._at(flow, region) as at:
            while newest := at.newest():
                try:
                    beat, released = beat_of(at.folder, newest), is_released(at.folder, newest)
                    return LeaseInfo(newest, at.chain.owner(newest), beat, released)
                except FileNotFoundError:
                    continue
        return None

    def lease(self, flow: str, region: str, owner: str, above: int) -> int:
        """Take the lease with the token ``above`` + 1."""
        with self._at(flow, region) as at:
            if not self._root.is_dir() or not (self._root / MARK).exists():
                self._found()
            token = at.take(owner, above)
            if token is None:
                raise problems.fenced(flow, region, above, at.newest())
            return token

    def beat(self, flow: str, region: str, fence: int) -> None:
        """Move the heartbeat."""
        with problems.told(self._root):
            at = self._region(flow, region)
            if not at.holds(fence):
                raise problems.fenced(flow, region, fence, at.newest())
            move_beat(at.folder, fence)

    def release(self, flow: str, region: str, fence: int) -> None:
        """Give the lease back."""
        with self._at(flow, region) as at:
            if at.holds(fence):
                mark_released(at.folder, fence)

    def load(self, flow: str, region: str, epoch: int | None = None) -> Checkpoint | None:
        """The last committed epoch, or a kept older one."""
        with self._at(flow, region) as at:
            while True:
                view = at.view()
                wanted = max(view.epochs, default=0) if epoch is None else epoch
                if wanted not in view.epochs:
                    return None
                file, info = view.epochs[wanted]
                try:
                    value = json.loads(records.read_part(at.folder / file, "checkpoint"))
                except FileNotFoundError:
                    continue
                try:
                    return replace(Checkpoint.from_json(value), settled=info.settled)
                except ValueError as error:
                    raise problems.newer_checkpoint(flow, error) from error

    def state(self, flow: str, region: str, step: str, name: str) -> Iterator[tuple[bytes, bytes, float | None]]:
        """All live keys of a state, as they were when the first is asked for."""
        with self._at(flow, region) as at:
            while True:
                found = at.view().pieces_of("state", step, name)
                try:
                    contents = [records.read_part(at.folder / piece.file, piece.part) for piece in found]
                    break
                except FileNotFoundError:
                    continue
        yield from pieces.live_keys(contents, time.time())

    def states(self, flow: str, region: str) -> list[tuple[str, str]]:
        """The (step, name) pairs that keys were kept for."""
        with self._at(flow, region) as at:
            return sorted({(piece.step, piece.name) for piece in at.view().pieces if piece.holds == "state"})

    def commit(self, checkpoint: Checkpoint, changes: Changes, fence: int) -> None:
        """The commit point: all of it, or an error and none of it."""
        checkpoint = rules.dated(checkpoint)
        with self._fenced(checkpoint.flow, checkpoint.region, fence) as at:
            while True:
                view = at.view()
                rules.admit(checkpoint, view.incarnation, max(view.epochs, default=-1))
                given, parts = self._record(checkpoint, changes)
                try:
                    if not at.append(fence, "commit", given, parts, after=view):
                        raise problems.fenced(checkpoint.flow, checkpoint.region, fence, at.newest())
                    break
                except Disturbed:
                    continue
            crash.point("store-committed")
            at.tidy(fence)

    def settle(self, flow: str, region: str, epoch: int, fence: int) -> None:
        """All sinks have committed the epoch."""
        with self._fenced(flow, region, fence) as at:
            if not at.append(fence, "settle", {"epoch": epoch}):
                raise problems.fenced(flow, region, fence, at.newest())

    def history(self, flow: str, region: str) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        with self._at(flow, region) as at:
            return at.view().history()

    def prune(self, flow: str, region: str, keep: int) -> list[int]:
        """Forget all but the newest ``keep`` settled epochs and what is unsettled or last."""
        with self._at(flow, region) as at:
            view = at.view()
            gone = rules.prunable(view.history(), keep)
            if gone:
                at.note({"incarnation": view.incarnation, "forgotten": gone}, durable=False)
            return gone

    def flows(self) -> list[tuple[str, str]]:
        """The (flow, region) pairs known here."""
        with problems.told(self._root):
            known = ((unquoted(folder.parent.parent.name), unquoted(folder.name)) for folder in self._folders("*"))
            return sorted(of for of in known if self._region(*of).newest())

    def reset(self, flow: str, region: str, fence: int) -> None:
        """Forget what was kept, but not the lease's token. A damaged region too: its letters go as well."""
        with self._fenced(flow, region, fence) as at:
            try:
                view: View | None = at.view()
            except records.Damaged:
                view = None
            kept = None
            if view:
                waiting = (letter.id for letter in self._letters(at) if letter.status == "waiting")
                status = {**view.status, **dict.fromkeys(waiting, "forgotten")}
                letters = [piece for piece in view.pieces if piece.holds == "letters"]
                kept = View(place=view.place, pieces=letters, status=status)
            if not at.reset(fence, kept):
                raise problems.fenced(flow, region, fence, at.newest())

    def letters(
        self,
        flow: str,
        *,
        step: str | None = None,
        code: str | None = None,
        status: LetterStatus | None = "waiting",
        after: int = 0,
        limit: int | None = None,
    ) -> Iterator[Letter]:
        """Dead letters in the order of their ids."""
        regions = [unquoted(folder.name) for folder in self._folders(quoted(flow))]
        found = heapq.merge(*(self._told(flow, region, after) for region in regions), key=lambda letter: letter.id)
        chosen = (
            letter
            for letter in found
            if step in (None, letter.step) and code in (None, letter.code) and status in (None, letter.status)
        )
        yield from islice(chosen, limit)

    def drop_letters(self, flow: str, ids: Iterable[int]) -> int:
        """Mark waiting letters dropped; how many were."""
        wanted, dropped = set(ids), 0
        for folder in self._folders(quoted(flow)):
            with self._at(flow, unquoted(folder.name)) as at:
                chosen = [
                    letter.id for letter in self._letters(at) if letter.id in wanted and letter.status == "waiting"
                ]
                if chosen:
                    at.note({"dropped": chosen})
                    dropped += len(chosen)
        return dropped

    def _record(self, checkpoint: Checkpoint, changes: Changes) -> tuple[dict[str, object], dict[str, bytes]]:
        """The fields and the parts of a commit's record."""
        body = json.dumps(checkpoint.as_json(), separators=(",", ":")).encode()
        parts, listed = {"checkpoint": body}, list[Piece]()
        for step, name in dict.fromkeys((change.step, change.name) for change in changes.state):
            part = f"state-{len(listed)}"
            of = (change for change in changes.state if (change.step, change.name) == (step, name))
            parts[part] = pieces.keys_piece(of)
            listed.append(Piece("state", "", part, step=step, name=name, size=len(parts[part])))
        if changes.letters:
            first = Numbers(self._root / "flows" / quoted(checkpoint.flow) / "letters").claim(len(changes.letters))
            at = checkpoint.committed_at
            numbered = [replace(one, id=first + i, at=one.at or at) for i, one in enumerate(changes.letters)]
            parts["letters"] = pieces.letters_piece(numbered)
            size = len(parts["letters"])
            listed.append(Piece("letters", "", "letters", first=first, last=numbered[-1].id, size=size))
        info = (checkpoint.epoch, checkpoint.committed_at, checkpoint.settled, checkpoint.finished, len(body))
        told = [{key: value for key, value in asdict(piece).items() if key != "file"} for piece in listed]
        became = {"replayed": list(changes.replayed), "forgotten": list(changes.forgotten)}
        return {"incarnation": checkpoint.incarnation, "info": info, "pieces": told, **became}, parts

    def _told(self, flow: str, region: str, after: int) -> Iterator[Letter]:
        with self._at(flow, region) as at:
            found = self._letters(at, after)
        while True:
            with self._at(flow, region):
                letter = next(found, None)
            if letter is None:
                return
            yield letter

    def _letters(self, at: Region, after: int = 0) -> Iterator[Letter]:
        """A region's letters behind an id; a piece is read when it is needed."""
        while True:
            view = at.view()
            left = [piece for piece in view.pieces_of("letters") if piece.last > after]
            if not left:
                return
            try:
                content = records.read_part(at.folder / left[0].file, left[0].part)
            except FileNotFoundError:
                continue
            for letter in pieces.read_letters(content, after):
                status: Any = view.status.get(letter.id, letter.status)
                if status != "forgotten":
                    yield replace(letter, status=status)
            after = left[0].last

    def _folders(self, flow: str) -> list[Path]:
        found = self._root.glob(f"flows/{flow}/regions/*")
        return sorted(folder for folder in found if not folder.name.startswith(records.ASIDE))

    def _region(self, flow: str, region: str) -> Region:
        folder = self._root / "flows" / quoted(flow) / "regions" / quoted(region)
        return self._regions.setdefault((flow, region), Region(folder))

    @contextmanager
    def _at(self, flow: str, region: str) -> Iterator[Region]:
        """The region, for this thread alone; damage and refusals of the system become StateErrors."""
        with self._lock, problems.told(self._root):
            at = self._region(flow, region)
            try:
                yield at
            except records.Damaged as damage:
                raise problems.corrupt(flow, region, str(damage), intact_epoch(at.folder)) from damage

    @contextmanager
    def _fenced(self, flow: str, region: str, fence: int) -> Iterator[Region]:
        with self._at(flow, region) as at:
            if not at.holds(fence):
                raise problems.fenced(flow, region, fence, at.newest())
            yield at

    def _check(self) -> None:
        mark = self._root / MARK
        if not self._root.is_dir():
            raise problems.foreign(self._root, "it is a file, and this store needs a folder")
        if not mark.exists():
            if any(self._root.iterdir()):
                raise problems.foreign(self._root, "it is a folder of other files")
            return
        try:
            found = records.read_head(mark).given["layout"]
        except records.Damaged as damage:
            raise problems.foreign(self._root, f"its file `{MARK}` is damaged") from damage
        if found > LAYOUT:
            raise problems.newer_store(self._root, found, LAYOUT)

    def _found(self) -> None:
        records.found(self._root, MARK, records.encode("store", {"layout": LAYOUT}, {}))
        self._check()
