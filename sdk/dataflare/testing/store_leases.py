"""What every store promises of leases: one owner at a time, and nothing written by any other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from dataflare.checkpoint import Changes
from dataflare.errors import Fenced
from dataflare.testing.store_kept import StoreCase, change, checkpoint, held, letter, refused


class Leases(StoreCase):
    """Leases, fencing, threads."""

    def test_tokens_grow_by_one_and_only_from_the_newest(self) -> None:
        """Tokens grow by one and only from the newest."""
        with self.place() as opened:
            store = opened()
            assert store.lease("f", "r", "first", 0) == 1
            with refused(Fenced):
                store.lease("f", "r", "late", 0)
            with refused(Fenced):
                store.lease("f", "r", "early", 2)
            assert store.lease("f", "r", "second", 1) == 2
            assert store.lease("f", "other", "third", 0) == 1
            info = store.lease_info("f", "r")
            assert info is not None
            assert (info.token, info.owner, info.released) == (2, "second", False)

    def test_a_heartbeat_moves_and_a_fenced_one_does_not(self) -> None:
        """A heartbeat moves and a fenced one does not."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "first", 0)
            before = store.lease_info("f", "r")
            store.beat("f", "r", 1)
            after = opened().lease_info("f", "r")
            assert before
            assert after
            assert before.beat != after.beat
            opened().lease("f", "r", "second", 1)
            with refused(Fenced):
                store.beat("f", "r", 1)

    def test_a_released_lease_is_marked_and_its_token_stays(self) -> None:
        """A released lease is marked and its token stays."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "first", 0)
            store.release("f", "r", 1)
            info = opened().lease_info("f", "r")
            assert info
            assert (info.token, info.released) == (1, True)
            assert store.lease("f", "r", "second", 1) == 2
            store.release("f", "r", 1)
            info = store.lease_info("f", "r")
            assert info
            assert not info.released

    def test_only_the_newest_token_may_write(self) -> None:
        """Only the newest token may write."""
        for fence in (0, 2, 7):
            self._expect_refused(fence)

    def test_nobody_writes_without_a_lease(self) -> None:
        """Nobody writes without a lease."""
        with self.place() as opened:
            store = opened()
            with refused(Fenced):
                store.commit(checkpoint(1), Changes(), 0)

    def test_after_a_takeover_the_older_owner_is_shut_out_for_good(self) -> None:
        """After a takeover the older owner is shut out for good."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "old", 0)
            store.commit(checkpoint(1), Changes([change("k", "old")]), 1)
            newer = opened()
            newer.lease("f", "r", "new", 1)
            for _ in range(3):
                with refused(Fenced):
                    store.commit(checkpoint(2), Changes([change("k", "zombie")], [letter()]), 1)
            newer.commit(checkpoint(2, layout=2), Changes([change("k", "new")]), 2)
            with refused(Fenced):
                store.commit(checkpoint(3), Changes(), 1)
            loaded = opened().load("f", "r")
            assert loaded == checkpoint(2, layout=2)
            assert held(store) == {"k": "new"}
            assert list(store.letters("f")) == []

    def test_threads_may_share_a_store(self) -> None:
        """Threads may share a store."""
        with self.place() as opened:
            store = opened()
            tokens = {region: store.lease("f", region, "o", 0) for region in "abcd"}
            faults: list[BaseException] = []

            def work(region: str) -> None:
                try:
                    for epoch in range(1, 11):
                        changes = Changes([change(str(epoch), region)], [letter(region=region)])
                        store.commit(checkpoint(epoch, region=region), changes, tokens[region])
                        store.beat("f", region, tokens[region])
                except BaseException as fault:
                    faults.append(fault)

            threads = [threading.Thread(target=work, args=(region,)) for region in tokens]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert faults == []
            assert all(held(store, region=region) == {str(n): region for n in range(1, 11)} for region in tokens)
            numbers = [found.id for found in store.letters("f")]
            assert len(numbers) == 40
            assert numbers == sorted(set(numbers))

    def test_threads_that_race_for_a_lease_get_one_winner(self) -> None:
        """Threads that race for a lease get one winner."""
        with self.place() as opened:
            stores = [opened() for _ in range(6)]
            gate = threading.Barrier(len(stores))
            won: list[int] = []

            def race(index: int) -> None:
                gate.wait()
                with suppress(Fenced):
                    won.append(stores[index].lease("f", "r", str(index), 0))

            threads = [threading.Thread(target=race, args=(index,)) for index in range(len(stores))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert won == [1]

    def _expect_refused(self, fence: int) -> None:
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(checkpoint(1), Changes([change("k", "1")]), 1)
            writes: list[Callable[[], None]] = [
                lambda: store.commit(checkpoint(2), Changes([change("k", "2")], [letter()]), fence),
                lambda: store.settle("f", "r", 1, fence),
                lambda: store.reset("f", "r", fence),
                lambda: store.beat("f", "r", fence),
            ]
            for write in writes:
                with refused(Fenced) as told:
                    write()
                assert told.problems[0].fix
            assert store.load("f", "r") == checkpoint(1)
            assert held(store) == {"k": "1"}
            assert list(store.letters("f")) == []
