"""What the records of one region's folder add up to, and how they are tidied up.

A view is the sum of the log: the kept epochs, the pieces of keys and letters, what became of letters. From time to time
the owner writes a ``base`` record that holds the whole view; older records that it does not name are then deleted.
Who holds no lease (``prune``, ``dlq drop``) leaves a note beside the log; the next base takes it in.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from dataflare.checkpoint import EpochInfo
from dataflare_state import pieces, records
from dataflare_state.chain import Chain, Place, name_of, newest, places_in
from dataflare_state.pieces import Piece

BASE_EVERY = 64
"""Records between two bases."""
TRIES = 100
NOTE, SEGMENT, BEAT, RELEASED = "note-", "segment-", "beat-", "released-"
LASTING = f"{NOTE}lasting-"


class Disturbed(Exception):
    """The folder changed while it was read; read again."""


@dataclass
class View:
    """The sum of the log up to ``place``."""

    place: Place = (0, 0)
    nonce: str | None = None
    base: Place = (0, 0)
    since_base: int = 0
    incarnation: str | None = None
    epochs: dict[int, tuple[str, EpochInfo]] = field(default_factory=dict)
    """Epoch → the file that holds its checkpoint, and its line of history."""
    pieces: list[Piece] = field(default_factory=list)
    status: dict[int, str] = field(default_factory=dict)
    """What became of letters that no longer wait; ``forgotten`` ones went with a reset."""

    def apply(self, place: Place, head: records.Head) -> None:
        """Add one record."""
        self.place, self.since_base = place, self.since_base + 1
        given = head.given
        if head.kind == "commit":
            self._commit(name_of(place), given)
        elif head.kind == "settle":
            self._settle(given["epoch"])
        elif head.kind == "base":
            self._base(place, given)

    def _commit(self, file: str, given: Mapping[str, Any]) -> None:
        self.incarnation = given["incarnation"]
        info = EpochInfo(*given["info"])
        self.epochs[info.epoch] = (file, info)
        self.pieces += [Piece(**told, file=file) for told in given["pieces"]]
        for status in ("replayed", "forgotten"):
            self.status.update(dict.fromkeys(given.get(status, ()), status))

    def _settle(self, epoch: int) -> None:
        if epoch in self.epochs:
            file, info = self.epochs[epoch]
            self.epochs[epoch] = (file, replace(info, settled=True))

    def _base(self, place: Place, given: Mapping[str, Any]) -> None:
        self.base, self.since_base, self.incarnation = place, 0, given["incarnation"]
        self.epochs = {info[0]: (file, EpochInfo(*info)) for file, info in given["epochs"]}
        self.pieces = [Piece(**told) for told in given["pieces"]]
        self.status = {int(number): status for number, status in given["status"].items()}

    def told(self) -> dict[str, Any]:
        """The view as the content of a base record."""
        return {
            "incarnation": self.incarnation,
            "epochs": [(file, astuple(info)) for file, info in self.epochs.values()],
            "pieces": [asdict(piece) for piece in self.pieces],
            "status": self.status,
        }

    def history(self) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        return [info for _, (_, info) in sorted(self.epochs.items(), reverse=True)]

    def pieces_of(self, holds: str, step: str = "", name: str = "") -> list[Piece]:
        """The pieces of one thing, oldest first."""
        return [piece for piece in self.pieces if piece.of == (holds, step, name)]

    def noted(self, notes: Mapping[str, Mapping[str, Any]]) -> View:
        """The view with the notes taken in."""
        view = replace(self, epochs=dict(self.epochs), status=dict(self.status), pieces=list(self.pieces))
        for note in notes.values():
            for number in note.get("dropped", ()):
                view.status.setdefault(number, "dropped")
            if note.get("incarnation") == view.incarnation:
                for epoch in note.get("forgotten", ()):
                    view.epochs.pop(epoch, None)
        return view


class Region:
    """One region's folder: the view of it, and writing to it under a token. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = Chain(folder)
        self._view: View | None = None
        self._notes: dict[str, dict[str, Any]] = {}
        self._nonces: dict[int, str | None] = {}

    def take(self, owner: str, above: int) -> int | None:
        """Take the lease; None if the newest token is not ``above``."""
        token = self.chain.take(owner, above)
        if token is not None:
            self._nonces[token] = self.chain.nonce(token)
        return token

    def newest(self) -> int:
        """The newest token; 0 if there never was one."""
        return newest(self.chain.places())

    def holds(self, fence: int) -> bool:
        """Is this the newest token?"""
        nonce = self._nonces.setdefault(fence, self.chain.nonce(fence)) if fence else None
        return nonce is not None and self.chain.is_newest(fence, nonce)

    def append(
        self,
        fence: int,
        kind: str,
        given: Mapping[str, Any],
        parts: Mapping[str, bytes] | None = None,
        *,
        after: View | None = None,
    ) -> bool:
        """Add a record to the token's chain and look; False if the token is not the newest any more.

        With ``after`` only directly behind that view: raises Disturbed where something came in between.
        """
        while self.holds(fence):
            last = after.place[1] if after else self._last(fence)
            if self.chain.append((fence, last + 1), kind, given, parts or {}):
                return self.holds(fence)
            if after and self.holds(fence):
                raise Disturbed
        return False

    def view(self) -> View:
        """What holds now. Raises Damaged, OSError."""
        for _ in range(TRIES):
            try:
                # Notes before records: a base that took a note in is then seen before the note is missed.
                notes = self._read_notes()
                self._view = self._read(self._view)
                return self._view.noted(notes)
            except (FileNotFoundError, Disturbed):
                self._view = None
        raise records.Damaged("records are missing")

    def note(self, content: Mapping[str, Any], *, durable: bool = True) -> None:
        """Leave a note for the owner; it holds from now on (across a power cut only if ``durable``)."""
        head = records.encode("note", content, {})
        name = f"{LASTING if durable else NOTE}{uuid.uuid4().hex}"
        records.publish(self.folder, name, head, durable=durable)

    def tidy(self, fence: int) -> None:
        """Write a base and delete what it does not need, if it is time to."""
        view = self.view()
        if view.since_base < BASE_EVERY:
            return
        notes = set(self._notes)
        if self.append(fence, "base", self._merge(view, fence).told(), after=view):
            self._clear(notes)

    def reset(self, fence: int, kept: View | None) -> bool:
        """Keep only what ``kept`` says (None: nothing, all is damaged); False if the token is not the newest."""
        notes = set(self._notes) if kept else {name for name in self.chain.names() if name.startswith(NOTE)}
        if not self.append(fence, "base", (kept or View()).told(), after=kept):
            return False
        self._clear(notes)
        return True

    def _last(self, fence: int) -> int:
        return max((number for token, number in self.chain.places() if token == fence), default=0)

    def _read(self, before: View | None) -> View:
        places = self.chain.places()
        view = before.noted({}) if before else self._begin(places)
        for place in (place for place in places if place > view.place):
            token, number = view.place
            if place != (token, number + 1):
                if place != (token + 1, 0):
                    raise Disturbed
                if token and not self.chain.is_sealed(view.place):
                    self._expect_nothing_above(token, places)
                    break
            head = self.chain.head(place)
            view.apply(place, head)
            if head.kind == "lease":
                view.nonce = str(head.given["nonce"])
        # Had the log been cleared up to here meanwhile, a record could be a zombie's; the lease would be gone then.
        if view.place != (0, 0) and self.chain.nonce(view.place[0]) != view.nonce:
            raise Disturbed
        return view

    def _expect_nothing_above(self, token: int, places: list[Place]) -> None:
        """A taker that died before it sealed leaves a lease and nothing else."""
        if any(place[0] > token and place[1] and not self.chain.is_sealed(place) for place in places):
            raise Disturbed

    def _begin(self, places: list[Place]) -> View:
        for place in reversed(places):
            head = self.chain.head(place)
            if head.kind == "base":
                view = View(nonce=self.chain.nonce(place[0]))
                view.apply(place, head)
                return view
        if places and places[0] != (0, 0):
            raise Disturbed
        return View()

    def _read_notes(self) -> dict[str, dict[str, Any]]:
        names = {name for name in self.chain.names() if name.startswith(NOTE)}
        self._notes = {name: self._notes.get(name) or self._read_note(name) for name in sorted(names)}
        return self._notes

    def _read_note(self, name: str) -> dict[str, Any]:
        try:
            return dict(records.read_head(self.folder / name).given)
        except records.Damaged:
            if name.startswith(LASTING):
                raise
            return {}  # one that was not durable, after a power cut

    def _merge(self, view: View, fence: int) -> View:
        """The view with pieces merged into a new file."""
        file, parts = f"{SEGMENT}{fence:010d}-{uuid.uuid4().hex}", dict[str, bytes]()
        kept: list[Piece] = []
        for of in dict.fromkeys(piece.of for piece in view.pieces):
            run = view.pieces_of(*of)
            older = [piece for piece in run if piece.level]
            sizes = [piece.size for piece in older]
            start = pieces.mergeable([*sizes, sum(piece.size for piece in run[len(older) :])])
            if len(run) - start > 1:
                merged = self._merged(run[start:], bottom=start == 0)
                run = run[:start]
                if merged is not None:
                    part, (piece, content) = str(len(parts)), merged
                    parts[part] = content
                    run.append(replace(piece, file=file, part=part, size=len(content), level=1))
            kept += run
        if parts:
            records.publish(self.folder, file, records.encode("segment", {}, parts))
        return replace(view, pieces=kept)

    def _merged(self, run: list[Piece], *, bottom: bool) -> tuple[Piece, bytes] | None:
        contents = [records.read_part(self.folder / piece.file, piece.part) for piece in run]
        if run[0].holds == "letters":
            return replace(run[0], last=run[-1].last), pieces.merged_letters(contents)
        merged = pieces.merged_keys(contents, time.time(), bottom=bottom)
        return None if merged is None else (run[0], merged)

    def _clear(self, notes: set[str]) -> None:
        """Delete what the base no longer needs: records in ascending order, then the rest."""
        view, names = self.view(), self.chain.names()
        named = {file for file, _ in view.epochs.values()} | {piece.file for piece in view.pieces}
        token = view.base[0]
        places = (place for place in places_in(names) if place < view.base and place != (token, 0))
        self.chain.remove(place for place in places if name_of(place) not in named)
        for name in names:
            stale = name.startswith(SEGMENT) and name not in named
            older = name.startswith((BEAT, RELEASED)) and int(name.rpartition("-")[2]) < token
            if stale or older or name in notes or name.startswith(records.ASIDE):
                (self.folder / name).unlink(missing_ok=True)


def beat_of(folder: Path, token: int) -> int:
    """The heartbeat of a token; 0 before the first."""
    try:
        return int((folder / f"{BEAT}{token:010d}").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def move_beat(folder: Path, token: int) -> None:
    """Move the heartbeat of a token; it need not survive a power cut, the owner does not either."""
    (folder / f"{BEAT}{token:010d}").write_text(str(beat_of(folder, token) + 1))


def mark_released(folder: Path, token: int) -> None:
    """Say that the lease of this token was given back."""
    records.publish(folder, f"{RELEASED}{token:010d}", [b""])


def is_released(folder: Path, token: int) -> bool:
    """Was the lease of this token given back?"""
    return (folder / f"{RELEASED}{token:010d}").exists()


def intact_epoch(folder: Path) -> int | None:
    """The newest epoch whose checkpoint can still be read, however damaged the rest is."""
    for place in reversed(Chain(folder).places()):
        path = folder / name_of(place)
        try:
            head = records.read_head(path)
            if head.kind == "commit":
                records.read_part(path, "checkpoint")
                return int(head.given["info"][0])
        except (records.Damaged, OSError):
            continue
    return None
