"""Leases and the log of one region in a folder: who may write is decided by ``link`` alone.

Each fencing token has a chain of records named ``TOKEN-NUMBER``. Record 0 is the lease; its owner appends 1, 2, ...
A takeover links record 0 of the next token (one taker wins), then seals the older chain: it links a ``seal``
at the number that the older owner would use next. After that the older chain can never grow.

Why a zombie cannot commit: its next number is the seal's, so its ``link`` fails. Old records are deleted one day, the
seal too, so a zombie that slept through that could link again. Therefore an append is a link **and then a look**:
the next token's lease must not exist, and after that one's own lease (known by its nonce) must. Leases are deleted in
ascending order, so whoever still sees its own lease could not have missed a deleted newer one: no newer lease existed
when the link was made, and the append came before any takeover. If the look fails, the record may or may not count
(it counts if it came before the seal); the owner is told Fenced either way and the newer one reads what holds.
The same look, at the lease below, guards a taker that slept between reading and linking. A region's folder is born
with the lease of token 0 in it (renamed into place as a whole), so there is always one below.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dataflare_state import records

Place = tuple[int, int]
"""Token and number of a record; their order is the order of the log."""


def name_of(place: Place) -> str:
    """The file name of a record."""
    return f"{place[0]:010d}-{place[1]:010d}"


class Chain:
    """The records in one region's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """All names in the folder; none if there is no folder."""
        try:
            return os.listdir(self.folder)
        except FileNotFoundError:
            return []

    def places(self) -> list[Place]:
        """The records, oldest first."""
        return places_in(self.names())

    def head(self, place: Place) -> records.Head:
        """The head of a record. Raises Damaged, FileNotFoundError."""
        return records.read_head(self.folder / name_of(place))

    def take(self, owner: str, above: int) -> int | None:
        """Take the lease with the token ``above`` + 1; None, and nothing changed, if that is not the next one."""
        if not self.folder.is_dir():
            records.found(self.folder, name_of((0, 0)), _lease("", ""))
        if newest(self.places()) != above:
            return None
        try:
            below = self._nonce(above)
            nonce = uuid.uuid4().hex
            made = records.publish(self.folder, name_of((above + 1, 0)), _lease(owner, nonce), kind="lease")
            if not made or self._nonce(above) != below:
                return None
        except FileNotFoundError:
            return None
        self._seal_below(above + 1)
        return above + 1

    def nonce(self, token: int) -> str | None:
        """What tells the lease of this token from any other of that number; None if it is gone."""
        try:
            return self._nonce(token)
        except FileNotFoundError:
            return None

    def is_newest(self, token: int, nonce: str) -> bool:
        """The look: no newer lease exists."""
        if (self.folder / name_of((token + 1, 0))).exists():
            return False
        return self.nonce(token) == nonce

    def append(self, place: Place, kind: str, given: Mapping[str, Any], parts: Mapping[str, bytes]) -> bool:
        """Link a record at its place; False if the place is taken. The caller looks afterwards."""
        return records.publish(self.folder, name_of(place), records.encode(kind, given, parts), kind=kind)

    def remove(self, gone: Iterable[Place]) -> None:
        """Delete records, oldest first."""
        for place in sorted(gone):
            (self.folder / name_of(place)).unlink(missing_ok=True)

    def is_sealed(self, place: Place) -> bool:
        """Does this record end its chain?"""
        try:
            return self.head(place).kind == "seal"
        except records.Damaged:
            return False

    def owner(self, token: int) -> str:
        """Who took the lease of this token; empty if its record is damaged. Raises FileNotFoundError."""
        try:
            return str(self.head((token, 0)).given["owner"])
        except records.Damaged:
            return ""

    def _nonce(self, token: int) -> str:
        try:
            return str(self.head((token, 0)).given["nonce"])
        except records.Damaged:
            return "damaged"

    def _seal_below(self, token: int) -> None:
        last = {older: number for older, number in self.places() if older < token}
        for older, number in sorted(last.items()):
            while not self.is_sealed((older, number)):
                number += 1
                if self.append((older, number), "seal", {}, {}):
                    break


def places_in(names: Iterable[str]) -> list[Place]:
    """The records among names, oldest first."""
    return sorted((int(name[:10]), int(name[11:])) for name in names if name[:1].isdigit())


def newest(places: list[Place]) -> int:
    """The newest token; 0 if there is none."""
    return places[-1][0] if places else 0


def _lease(owner: str, nonce: str) -> list[bytes]:
    return records.encode("lease", {"owner": owner, "nonce": nonce}, {})
