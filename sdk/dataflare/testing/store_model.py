"""Two owners do anything to one place in any order; every store must agree with a few dictionaries."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from dataflare.checkpoint import Changes
from dataflare.errors import Fenced, StateError
from dataflare.store import Store
from dataflare.testing.store_kept import Open, change, checkpoint, held, letter, refused

OWNERS = st.integers(0, 1)
CHANGES = st.dictionaries(st.sampled_from("abcde"), st.none() | st.sampled_from("12345"), max_size=5)


@dataclass
class Model:
    """What a store holds, said as plainly as can be."""

    token: int = 0
    owner: str = ""
    released: bool = False
    incarnation: int = 0
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    """What is done, by whom, and what must be there afterwards."""

    start: ClassVar[Open]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [type(self).start(Path(self.folder.name)) for _ in range(2)]
        self.tokens = [0, 0]
        self.model = Model()
        self.epoch = 0
        self.filed = 0

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    def _newest(self, owner: int) -> bool:
        return self.tokens[owner] == self.model.token != 0

    def _write(self, owner: int, work: Any) -> bool:
        """Do it; it must work for the newest owner and be refused to any other."""
        if self._newest(owner):
            work()
            return True
        with refused(Fenced):
            work()
        return False

    @rule(owner=OWNERS)
    def take_over(self, owner: int) -> None:
        self.tokens[owner] = self.stores[owner].lease("f", "r", str(owner), self.model.token)
        self.model.token += 1
        self.model.owner, self.model.released = str(owner), False
        assert self.tokens[owner] == self.model.token

    @rule(owner=OWNERS)
    def take_over_too_late(self, owner: int) -> None:
        if self.model.token:
            with refused(Fenced):
                self.stores[owner].lease("f", "r", "late", self.model.token - 1)

    @rule(owner=OWNERS)
    def release(self, owner: int) -> None:
        self.stores[owner].release("f", "r", self.tokens[owner])
        if self._newest(owner):
            self.model.released = True

    @rule(owner=OWNERS)
    def beat(self, owner: int) -> None:
        self._write(owner, lambda: self.stores[owner].beat("f", "r", self.tokens[owner]))

    @rule(owner=OWNERS, changes=CHANGES, lost=st.integers(0, 2), finished=st.booleans(), data=st.data())
    def commit(
        self, owner: int, changes: dict[str, str | None], lost: int, finished: bool, data: st.DataObject
    ) -> None:
        known = {found.code: found.id for found in self.stores[owner].letters("f", status=None)}
        done = data.draw(st.lists(st.sampled_from(sorted(known)), max_size=2, unique=True) if known else st.just([]))
        names = [f"n{self.filed + index}" for index in range(lost)]
        given = Changes(
            [change(key, value) for key, value in changes.items()],
            [letter(name) for name in names],
            [known[name] for name in done],
        )
        made = checkpoint(self.epoch, incarnation=str(self.model.incarnation), finished=finished)
        if not self._write(owner, lambda: self.stores[owner].commit(made, given, self.tokens[owner])):
            return
        self.model.epochs[self.epoch] = {"settled": False, "finished": finished}
        for key, value in changes.items():
            self.model.keys.pop(key, None)
            if value is not None:
                self.model.keys[key] = value
        self.model.letters.update(dict.fromkeys(names, "waiting"))
        self.model.letters.update(dict.fromkeys(done, "replayed"))
        self.filed += lost
        self.epoch += 1

    @rule(owner=OWNERS)
    def commit_out_of_order(self, owner: int) -> None:
        if self._newest(owner) and self.model.epochs:
            made = checkpoint(max(self.model.epochs), incarnation=str(self.model.incarnation))
            with refused(StateError):
                self.stores[owner].commit(made, Changes([change("a", "no")]), self.tokens[owner])

    @rule(owner=OWNERS)
    def settle(self, owner: int) -> None:
        if self.model.epochs:
            last = max(self.model.epochs)
            if self._write(owner, lambda: self.stores[owner].settle("f", "r", last, self.tokens[owner])):
                self.model.epochs[last]["settled"] = True

    @rule(owner=OWNERS, keep=st.integers(0, 3))
    def prune(self, owner: int, keep: int) -> None:
        settled = sorted((e for e, told in self.model.epochs.items() if told["settled"]), reverse=True)
        gone = sorted(epoch for epoch in settled[keep:] if epoch != max(self.model.epochs))
        assert self.stores[owner].prune("f", "r", keep) == gone
        for epoch in gone:
            del self.model.epochs[epoch]

    @rule(owner=OWNERS)
    def reset(self, owner: int) -> None:
        if self._write(owner, lambda: self.stores[owner].reset("f", "r", self.tokens[owner])):
            self.model.epochs, self.model.keys = {}, {}
            self.model.letters = {code: what for code, what in self.model.letters.items() if what != "waiting"}
            self.model.incarnation += 1
            self.epoch = 0

    @rule(owner=OWNERS, data=st.data())
    def drop(self, owner: int, data: st.DataObject) -> None:
        known = {found.code: found.id for found in self.stores[owner].letters("f", status=None)}
        if not known:
            return
        chosen = data.draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True))
        waiting = [code for code in chosen if self.model.letters[code] == "waiting"]
        assert self.stores[owner].drop_letters("f", [known[code] for code in chosen]) == len(waiting)
        self.model.letters.update(dict.fromkeys(waiting, "dropped"))

    @rule(owner=OWNERS)
    def reopen(self, owner: int) -> None:
        self.stores[owner].close()
        self.stores[owner] = type(self).start(Path(self.folder.name))

    @invariant()
    def both_see_what_holds(self) -> None:
        for store in self.stores:
            self._compare(store)

    def _compare(self, store: Store) -> None:
        model = self.model
        lease = store.lease_info("f", "r")
        assert (model.token > 0) == (lease is not None)
        if lease:
            assert (lease.token, lease.owner, lease.released) == (model.token, model.owner, model.released)
        last = max(model.epochs, default=None)
        for epoch in [None, *model.epochs]:
            wanted = last if epoch is None else epoch
            loaded = store.load("f", "r", epoch)
            if wanted is None:
                assert loaded is None
            else:
                base = checkpoint(wanted, incarnation=str(model.incarnation))
                assert loaded == replace(base, **model.epochs[wanted])
        shown = [(info.epoch, info.settled, info.finished) for info in store.history("f", "r")]
        assert shown == [
            (epoch, told["settled"], told["finished"]) for epoch, told in sorted(model.epochs.items(), reverse=True)
        ]
        assert held(store) == model.keys
        letters = list(store.letters("f", status=None))
        assert {found.code: found.status for found in letters} == model.letters
        assert [found.id for found in letters] == sorted(found.id for found in letters)


def run_model(start: Open, examples: int) -> None:
    """Try so many sequences of things on stores that ``start`` opens."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        type("Machine", (Machine,), {"start": staticmethod(start)}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
