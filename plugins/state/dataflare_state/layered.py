"""A store under layers: everything that may hold data goes through them, into any store.

The store below keeps plain what it needs to do its work: flow, region, epoch, incarnation, flags, times, the step and
code of letters. The checkpoint, the keyed state (``pages.py``) and the letters' rows, messages and places are sealed,
each bound to its place: flow, region, epoch and what it is.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dataflare import Uses, field
from dataflare.checkpoint import Changes, Checkpoint, EpochInfo, LeaseInfo, Letter, LetterStatus
from dataflare.context import Context
from dataflare.errors import StateError
from dataflare.store import Layer, Store
from dataflare_state import packing, pieces, problems, rules
from dataflare_state.pages import Book, Page, next_book, rewritten
from dataflare_state.stack import Damaged, Stack, digest_in, is_sealed

SEALED = "#sealed"
"""The entry among the snapshots of the checkpoint below that holds what is sealed."""
TRIES = 20


@dataclass(frozen=True)
class _Known:
    """The book of the last epoch that this store committed under a token."""

    fence: int
    epoch: int
    book: Book
    parts: dict[str, str]
    """Digest of a large snapshot → how it was sealed: one that does not change is kept once."""


class Layered(Store, name="layered"):
    """Any store with layers over it: what the word `layers` under `state:` makes."""

    store: Uses[Store] = field(help="The store below.")
    layers: tuple[Uses[Layer], ...] = field(help="The layers; the first one is applied first to what is written.")

    _below: Store
    _stack: Stack
    _known: dict[tuple[str, str], _Known]
    _lock: threading.Lock

    def open(self, ctx: Context) -> None:
        """Open the layers, then the store."""
        self._below, self._known, self._lock = self.store.get(), {}, threading.Lock()
        self._stack = Stack([(layer.uses, layer.get()) for layer in self.layers])
        for layer in self.layers:
            layer.get().open(ctx)
        self._below.open(ctx)

    def close(self) -> None:
        """Close the store and the layers."""
        self._below.close()
        for layer in self.layers:
            layer.get().close()

    # --- what the store below does as it is ---------------------------------------------------------

    def lease_info(self, flow: str, region: str) -> LeaseInfo | None:
        """Who holds the region, or None."""
        return self._below.lease_info(flow, region)

    def lease(self, flow: str, region: str, owner: str, above: int) -> int:
        """Take the lease with the token ``above`` + 1."""
        return self._below.lease(flow, region, owner, above)

    def beat(self, flow: str, region: str, fence: int) -> None:
        """Move the heartbeat."""
        self._below.beat(flow, region, fence)

    def release(self, flow: str, region: str, fence: int) -> None:
        """Give the lease back."""
        self._below.release(flow, region, fence)

    def settle(self, flow: str, region: str, epoch: int, fence: int) -> None:
        """All sinks have committed the epoch."""
        self._below.settle(flow, region, epoch, fence)

    def history(self, flow: str, region: str) -> list[EpochInfo]:
        """The kept epochs, newest first."""
        return self._below.history(flow, region)

    def prune(self, flow: str, region: str, keep: int) -> list[int]:
        """Forget all but the newest ``keep`` settled epochs and what is unsettled or last."""
        return self._below.prune(flow, region, keep)

    def flows(self) -> list[tuple[str, str]]:
        """The (flow, region) pairs known here."""
        return self._below.flows()

    def drop_letters(self, flow: str, ids: Iterable[int]) -> int:
        """Mark waiting letters dropped; how many were."""
        return self._below.drop_letters(flow, ids)

    def reset(self, flow: str, region: str, fence: int) -> None:
        """Forget what was kept, but not the lease's token."""
        self._forget(flow, region)
        self._below.reset(flow, region, fence)

    # --- what goes through the layers ---------------------------------------------------------------

    def load(self, flow: str, region: str, epoch: int | None = None) -> Checkpoint | None:
        """The last committed epoch, or a kept older one."""
        found = self._opened(flow, region, epoch)
        return None if found is None else found[0]

    def states(self, flow: str, region: str, epoch: int | None = None) -> list[tuple[str, str]]:
        """The (step, name) pairs that keys were kept for, in the last epoch or in a kept older one."""
        found = self._opened(flow, region, epoch)
        return [] if found is None else found[1].states()

    def state(
        self, flow: str, region: str, step: str, name: str, epoch: int | None = None
    ) -> Iterator[tuple[bytes, bytes, float | None]]:
        """All live keys of a state, as they were when the first is asked for, or as a kept older epoch has them."""
        for attempt in range(TRIES):
            found = self._opened(flow, region, epoch)
            if found is None:
                return
            checkpoint, book = found
            try:
                contents = self._read(flow, region, book.of(step, name))
                break
            except Damaged as damage:
                newest = self._opened(flow, region, epoch)
                if newest is None or newest[0].epoch == checkpoint.epoch or attempt == TRIES - 1:
                    what = f"the state `{name}` of `{step}`{f': {damage}' if str(damage) else ''}"
                    raise problems.corrupt(flow, region, what, self._intact(flow, region, checkpoint.epoch)) from damage
        yield from pieces.live_keys(contents, time.time())

    def commit(self, checkpoint: Checkpoint, changes: Changes, fence: int) -> None:
        """The commit point: all of it, or an error and none of it."""
        checkpoint = rules.dated(checkpoint)
        flow, region, epoch = checkpoint.flow, checkpoint.region, checkpoint.epoch
        known = self._last(flow, region, fence)
        oldest = epoch
        if known.book.gone:
            oldest = min((info.epoch for info in self._below.history(flow, region)), default=epoch)
        book, state = next_book(
            known.book,
            epoch,
            oldest,
            changes.state,
            lambda page, data: self._sealed_page(flow, region, page, data),
            lambda wanted: self._read(flow, region, wanted),
        )
        sealed, parts = self._sealed(checkpoint, book, known.parts)
        letters = [self._sealed_letter(letter, number) for number, letter in enumerate(changes.letters)]
        self._forget(flow, region)
        self._below.commit(sealed, Changes(state, letters, changes.replayed, changes.forgotten), fence)
        with self._lock:
            self._known[flow, region] = _Known(fence, epoch, book, parts)

    def rewrite(self, flow: str, region: str, fence: int) -> bool:
        """Seal everything anew, under the newest key, as one more epoch; older epochs are forgotten with it."""
        found = self._opened(flow, region)
        if found is None:
            return False
        checkpoint, book = found
        if not checkpoint.settled:
            raise problems.unsettled(flow, checkpoint.epoch)
        made = replace(checkpoint, epoch=checkpoint.epoch + 1, committed_at="")
        made = rules.dated(made)
        pages, state = rewritten(
            book,
            made.epoch,
            lambda page, data: self._sealed_page(flow, region, page, data),
            lambda wanted: self._read(flow, region, wanted),
        )
        mine = [letter for letter in self.letters(flow, status=None) if letter.region == region]
        letters = [self._sealed_letter(letter, number) for number, letter in enumerate(mine)]
        sealed, _ = self._sealed(made, pages, {})
        self._forget(flow, region)
        self._below.commit(sealed, Changes(state, letters, forgotten=[letter.id for letter in mine]), fence)
        self._below.prune(flow, region, 0)
        return True

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
        for letter in self._below.letters(flow, step=step, code=code, status=status, after=after, limit=limit):
            yield self._opened_letter(letter)

    # --- checkpoints --------------------------------------------------------------------------------

    def _sealed(self, checkpoint: Checkpoint, book: Book, known: dict[str, str]) -> tuple[Checkpoint, dict[str, str]]:
        """The checkpoint as the store below keeps it, and its large snapshots as they were sealed."""
        flow, region, epoch = checkpoint.flow, checkpoint.region, checkpoint.epoch
        text, apart = packing.text(checkpoint)
        parts = {
            digest: known.get(digest) or _text(self._stack.seal(data.encode(), "snapshot", flow, region, digest))
            for digest, data in apart.items()
        }
        body = json.dumps(book.as_json(), separators=(",", ":")) + "\n" + text
        place = ("checkpoint", flow, region, checkpoint.incarnation, epoch)
        outside = Checkpoint(
            flow,
            region,
            checkpoint.incarnation,
            epoch,
            layout=checkpoint.layout,
            format=checkpoint.format,
            finished=checkpoint.finished,
            settled=checkpoint.settled,
            committed_at=checkpoint.committed_at,
            layers=self._stack.names,
            snapshots={SEALED: {"": _text(self._stack.seal(body.encode(), *place)), **parts}},
        )
        return outside, parts

    def _opened(self, flow: str, region: str, epoch: int | None = None) -> tuple[Checkpoint, Book] | None:
        outside = self._below.load(flow, region, epoch)
        if outside is None:
            return None
        try:
            return self._unsealed(outside)
        except Damaged as damage:
            what = f"the sealed content of epoch {outside.epoch}"
            raise problems.corrupt(flow, region, what, self._intact(flow, region, outside.epoch)) from damage

    def _unsealed(self, outside: Checkpoint) -> tuple[Checkpoint, Book]:
        flow, region, epoch = outside.flow, outside.region, outside.epoch
        if outside.layers != self._stack.names:
            raise problems.other_layers(flow, outside.layers, self._stack.names)
        lanes = outside.snapshots.get(SEALED, {})
        place = ("checkpoint", flow, region, outside.incarnation, epoch)
        book, _, text = self._stack.unseal(_bytes(lanes.get("", "")), *place).decode().partition("\n")
        apart = {}
        for lane, sealed in lanes.items():
            if lane:
                apart[lane] = self._stack.unseal(_bytes(sealed), "snapshot", flow, region, lane).decode()
        try:
            checkpoint = packing.checkpoint(text, apart)
        except ValueError as error:
            raise problems.newer_checkpoint(flow, error) from error
        if checkpoint is None:
            raise Damaged
        return replace(checkpoint, settled=outside.settled), Book.from_json(json.loads(book))

    def _intact(self, flow: str, region: str, below: int) -> int | None:
        """The newest older epoch that opens."""
        for info in self._below.history(flow, region):
            if info.epoch < below:
                try:
                    outside = self._below.load(flow, region, info.epoch)
                    if outside is not None:
                        self._unsealed(outside)
                        return info.epoch
                except (Damaged, StateError):
                    continue
        return None

    def _last(self, flow: str, region: str, fence: int) -> _Known:
        with self._lock:
            known = self._known.get((flow, region))
        if known is not None and known.fence == fence:
            return known
        found = self._opened(flow, region)
        return _Known(fence, -1 if found is None else found[0].epoch, Book() if found is None else found[1], {})

    def _forget(self, flow: str, region: str) -> None:
        with self._lock:
            self._known.pop((flow, region), None)

    # --- pages --------------------------------------------------------------------------------------

    def _sealed_page(self, flow: str, region: str, page: Page, data: bytes) -> tuple[Page, bytes]:
        sealed = self._stack.seal(data, *_place(flow, region, page))
        return replace(page, digest=digest_in(sealed)), sealed

    def _read(self, flow: str, region: str, wanted: Sequence[Page]) -> list[bytes]:
        """The content of pages of one state. Raises Damaged."""
        found: dict[str, bytes] = {}
        for step, below in dict.fromkeys((page.step, page.below) for page in wanted):
            found |= {key.decode(): value for key, value, _ in self._below.state(flow, region, step, below)}
        contents = []
        for page in wanted:
            sealed = found.get(page.id)
            if sealed is None:
                raise Damaged(f"what epoch {page.epoch} changed is missing")
            if digest_in(sealed) != page.digest:
                raise Damaged(f"what epoch {page.epoch} changed")
            contents.append(self._stack.unseal(sealed, *_place(flow, region, page)))
        return contents

    # --- letters ------------------------------------------------------------------------------------

    def _sealed_letter(self, letter: Letter, number: int) -> Letter:
        told = json.dumps([letter.message, letter.split, letter.place], separators=(",", ":")).encode()
        place = {"layers": self._stack.names, "number": number}
        data = len(told).to_bytes(4, "big") + told + letter.rows
        sealed = self._stack.seal(data, *_letter_place(letter, number))
        return replace(letter, rows=sealed, message="", split="", place=place)

    def _opened_letter(self, letter: Letter) -> Letter:
        held = letter.place.get("layers", []) if is_sealed(letter.rows) and isinstance(letter.place, dict) else []
        if not held and letter.status != "waiting":
            return letter  # left by a reset, before there were layers
        if held != self._stack.names:
            raise problems.other_layers(letter.flow, held, self._stack.names)
        try:
            data = self._stack.unseal(letter.rows, *_letter_place(letter, letter.place["number"]))
        except Damaged as damage:
            raise problems.corrupt(
                letter.flow, letter.region, f"the dead letter {letter.id}", None, letter=letter.id
            ) from damage
        size = 4 + int.from_bytes(data[:4], "big")
        message, split, place = json.loads(data[4:size])
        return replace(letter, rows=data[size:], message=message, split=split, place=place)


def _place(flow: str, region: str, page: Page) -> tuple[str | int, ...]:
    return ("keys", flow, region, page.step, page.name, page.level, page.id)


def _letter_place(letter: Letter, number: int) -> tuple[str | int, ...]:
    return ("letter", letter.flow, letter.region, letter.step, letter.code, letter.epoch, letter.count, number)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Damaged from None
