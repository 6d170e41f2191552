"""What every store promises of its content: it is read back as it was committed, whole, by any reader."""

from __future__ import annotations

from dataclasses import replace

from dataflare.checkpoint import Changes, EdgeProof, StepCounts
from dataflare.errors import StateError
from dataflare.testing.store_kept import StoreCase, change, checkpoint, held, letter, refused


class Contents(StoreCase):
    """Checkpoints, keyed state, history, dead letters."""

    def test_a_new_store_knows_nothing(self) -> None:
        """A new store knows nothing."""
        with self.place() as opened:
            store = opened()
            assert store.flows() == []
            assert store.lease_info("f", "r") is None
            assert store.load("f", "r") is None
            assert store.history("f", "r") == []
            assert held(store) == {}
            assert list(store.letters("f", status=None)) == []
            assert store.prune("f", "r", 1) == []
            assert store.drop_letters("f", [1]) == 0

    def test_a_commit_is_read_back_as_it_was(self) -> None:
        """A commit is read back as it was."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            first = checkpoint(
                1,
                layout=3,
                plugins={"std": "1.0"},
                snapshots={"s": {"0": "c21hbGw=", "1": "QUJD" * 5000}},
                tokens={"out": {"0": {"name": "x", "epoch": 1}, "1": None}},
                schemas={"read.out->s": {"columns": []}},
                watermarks={"read": "2026-01-01T00:00:00Z"},
                counts={"s": StepCounts(1, 2, 3, 4)},
                proofs={"read.out->s": EdgeProof(4, str(2**127))},
                guarantee=["edited at 3"],
                finished=True,
            )
            store.commit(first, Changes(), 1)
            for reader in (store, opened()):
                assert reader.load("f", "r") == first
                assert reader.load("f", "r", 1) == first
                assert reader.load("f", "r", 2) is None
                assert reader.load("f", "elsewhere") is None
                assert reader.flows() == [("f", "r")]

    def test_names_may_hold_anything_that_names_hold(self) -> None:
        """Names may hold anything that names hold."""
        with self.place() as opened:
            store = opened()
            flow, region, step, key = "../a b/ü", "..", "s.t/u", "k\0\n"
            store.lease(flow, region, '{"pid": 1}', 0)
            kept = checkpoint(1, flow=flow, region=region, discovery={"x": "caf\udce9"})
            lost = letter(flow=flow, region=region, split="caf\udce9.csv")
            store.commit(kept, Changes([change(key, "v", step=step)], [lost]), 1)
            reader = opened()
            assert reader.load(flow, region) == kept
            assert held(reader, flow=flow, region=region, step=step) == {key: "v"}
            assert reader.flows() == [(flow, region)]
            assert len(list(reader.letters(flow))) == 1

    def test_what_is_committed_does_not_change_with_the_callers_object(self) -> None:
        """What is committed does not change with the callers object."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            given = checkpoint(1)
            store.commit(given, Changes(), 1)
            given.splits["read"][0].position = "changed"
            loaded = store.load("f", "r")
            assert loaded is not None
            assert loaded.splits["read"][0].position == {"byte": 1}

    def test_a_commit_gets_a_time_where_none_is_given(self) -> None:
        """A commit gets a time where none is given."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(replace(checkpoint(1), committed_at=""), Changes([], [replace(letter(), at="")]), 1)
            (info,) = store.history("f", "r")
            (lost,) = store.letters("f")
            assert info.committed_at.startswith("20")
            assert lost.at.startswith("20")

    def test_epochs_only_grow(self) -> None:
        """Epochs only grow."""
        for epoch in (4, 5):
            with self.place() as opened:
                store = opened()
                store.lease("f", "r", "o", 0)
                store.commit(checkpoint(5), Changes(), 1)
                with refused(StateError) as told:
                    store.commit(checkpoint(epoch), Changes([change("k", "v")]), 1)
                assert told.code == "state.epoch_order"
                assert held(store) == {}
                store.commit(checkpoint(9), Changes(), 1)

    def test_a_life_may_begin_with_epoch_zero(self) -> None:
        """A life may begin with epoch zero."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(checkpoint(0), Changes(), 1)
            assert store.load("f", "r") == checkpoint(0) == store.load("f", "r", 0)
            with refused(StateError):
                store.commit(checkpoint(0), Changes(), 1)
            store.commit(checkpoint(1), Changes(), 1)
            assert store.load("f", "r") == checkpoint(1)

    def test_another_incarnation_needs_a_reset(self) -> None:
        """Another incarnation needs a reset."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(checkpoint(5), Changes([change("k", "v")]), 1)
            with refused(StateError) as told:
                store.commit(checkpoint(6, incarnation="j"), Changes(), 1)
            assert told.code == "state.incarnation"
            store.reset("f", "r", 1)
            store.commit(checkpoint(1, incarnation="j"), Changes(), 1)
            assert held(store) == {}

    def test_keys_change_one_by_one(self) -> None:
        """Keys change one by one."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(
                checkpoint(1), Changes([change("a", "1"), change("b", "1"), change("a", "1", name="other")]), 1
            )
            store.commit(checkpoint(2), Changes([change("a", None), change("c", "2"), change("missing", None)]), 1)
            store.commit(
                checkpoint(3), Changes([change("c", "3"), change("c", None), change("b", "3"), change("b", "4")]), 1
            )
            assert held(opened()) == {"b": "4"}
            assert opened().states("f", "r") == [("s", "other"), ("s", "seen")]
            assert opened().states("f", "q") == []
            assert held(store, name="other") == {"a": "1"}
            assert held(store, region="q") == {}

    def test_values_and_keys_are_any_bytes(self) -> None:
        """Values and keys are any bytes."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            raw = change("", "")._replace(key=b"\x00\xff\x00", value=b"\xff\x00")
            store.commit(checkpoint(1), Changes([raw, raw._replace(key=b"", value=b"")]), 1)
            assert sorted(opened().state("f", "r", "s", "seen")) == [
                (b"", b"", None),
                (b"\x00\xff\x00", b"\xff\x00", None),
            ]

    def test_expired_keys_are_not_given(self) -> None:
        """Expired keys are not given."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            long_ago, far = 1_000.0, 99_999_999_999.0
            store.commit(checkpoint(1), Changes([change("gone", "1"), change("kept", "1", expires=far)]), 1)
            store.commit(checkpoint(2), Changes([change("gone", "2", expires=long_ago)]), 1)
            assert list(store.state("f", "r", "s", "seen")) == [(b"kept", b"1", far)]

    def test_history_settling_and_pruning(self) -> None:
        """History settling and pruning."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            for epoch in range(1, 7):
                store.commit(checkpoint(epoch, finished=epoch == 6), Changes([change(str(epoch), "x")]), 1)
                if epoch < 6:
                    store.settle("f", "r", epoch, 1)
            shown = opened().history("f", "r")
            assert [(info.epoch, info.settled, info.finished) for info in shown] == [
                (6, False, True),
                *((epoch, True, False) for epoch in (5, 4, 3, 2, 1)),
            ]
            assert all(info.bytes > 0 for info in shown)
            assert store.prune("f", "r", 2) == [1, 2, 3]
            assert [info.epoch for info in opened().history("f", "r")] == [6, 5, 4]
            assert store.load("f", "r", 2) is None
            assert store.load("f", "r", 4) == replace(checkpoint(4), settled=True)
            store.settle("f", "r", 6, 1)
            assert store.prune("f", "r", 0) == [4, 5]
            last = opened().load("f", "r")
            assert last is not None
            assert last.settled
            assert len(held(store)) == 6

    def test_letters_are_numbered_filed_and_found(self) -> None:
        """Letters are numbered filed and found."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.lease("f", "q", "o", 0)
            store.lease("g", "r", "o", 0)
            store.commit(checkpoint(1), Changes([], [letter("a"), letter("b", step="t", input="left", attempts=3)]), 1)
            store.commit(checkpoint(1, region="q"), Changes([], [letter("a", region="q")]), 1)
            store.commit(checkpoint(1, flow="g"), Changes([], [letter("a", flow="g")]), 1)
            kept = list(opened().letters("f"))
            assert [found.id for found in kept] == sorted({found.id for found in kept})
            assert [replace(found, id=0) for found in kept] == [
                letter("a"),
                letter("b", step="t", input="left", attempts=3),
                letter("a", region="q"),
            ]
            assert [found.code for found in store.letters("f", step="t")] == ["b"]
            assert [found.region for found in store.letters("f", code="a")] == ["r", "q"]
            assert list(store.letters("f", after=kept[0].id)) == kept[1:]
            assert list(store.letters("f", limit=2)) == kept[:2]
            assert list(store.letters("f", limit=0)) == []
            assert list(store.letters("f", code="a", limit=1, after=kept[0].id)) == kept[2:]

    def test_letters_are_replayed_by_a_commit_and_dropped_by_hand(self) -> None:
        """Letters are replayed by a commit and dropped by hand."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(checkpoint(1), Changes([], [letter(code) for code in "abcd"]), 1)
            a, b, c, d = (found.id for found in store.letters("f"))
            assert opened().drop_letters("f", [a, b, 999]) == 2
            assert opened().drop_letters("f", [b]) == 0
            assert opened().drop_letters("g", [c]) == 0
            store.commit(checkpoint(2), Changes([], [letter("e")], replayed=[b, d]), 1)
            shown = {found.code: found.status for found in opened().letters("f", status=None)}
            assert shown == {"a": "dropped", "b": "replayed", "c": "waiting", "d": "replayed", "e": "waiting"}
            assert [found.code for found in store.letters("f", status="dropped")] == ["a"]
            assert opened().drop_letters("f", [c, d]) == 1
            assert [found.code for found in store.letters("f")] == ["e"]

    def test_letters_are_forgotten_by_a_commit(self) -> None:
        """Letters are forgotten by a commit."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            store.commit(checkpoint(1), Changes([], [letter(code) for code in "abc"]), 1)
            a, b, c = (found.id for found in store.letters("f"))
            store.commit(checkpoint(2), Changes([], [letter("d")], replayed=[c], forgotten=[a, b]), 1)
            assert [found.code for found in opened().letters("f", status=None)] == ["c", "d"]
            assert opened().drop_letters("f", [a, b]) == 0

    def test_a_reset_forgets_all_but_the_token(self) -> None:
        """A reset forgets all but the token."""
        with self.place() as opened:
            store = opened()
            for region in "rq":
                store.lease("f", region, "o", 0)
                store.commit(checkpoint(1, region=region), Changes([change("k", "v")], [letter(region=region)]), 1)
            (old, _) = store.letters("f")
            store.commit(checkpoint(2), Changes([], [letter("later")], replayed=[old.id]), 1)
            store.reset("f", "r", 1)
            reader = opened()
            assert reader.load("f", "r") is None
            assert reader.history("f", "r") == []
            assert held(reader) == {}
            assert reader.load("f", "q") == checkpoint(1, region="q")
            assert held(reader, region="q") == {"k": "v"}
            assert [(found.region, found.status) for found in reader.letters("f", status=None)] == [
                ("r", "replayed"),
                ("q", "waiting"),
            ]
            info = reader.lease_info("f", "r")
            assert info
            assert info.token == 1
            store.commit(checkpoint(1, incarnation="new"), Changes([], [letter("fresh")]), 1)
            assert [found.code for found in store.letters("f")] == ["bad", "fresh"]
            assert max(found.id for found in store.letters("f", status=None)) > old.id + 2

    def test_a_long_life_keeps_what_counts(self) -> None:
        """Long enough for every store to tidy up several times."""
        with self.place() as opened:
            store = opened()
            store.lease("f", "r", "o", 0)
            expected: dict[str, str] = {}
            for epoch in range(1, 101):
                keys = [str(epoch % 37), str(epoch % 11 + 100), f"only-{epoch}"]
                changed = [change(key, None if epoch % 5 == 0 else str(epoch)) for key in keys]
                for one in changed:
                    if one.value is None:
                        expected.pop(one.key.decode(), None)
                    else:
                        expected[one.key.decode()] = one.value.decode()
                lost = [letter(str(epoch))] if epoch % 10 == 0 else []
                store.commit(checkpoint(epoch), Changes(changed, lost), 1)
                store.settle("f", "r", epoch, 1)
                store.prune("f", "r", 3)
                if epoch == 50:
                    store.drop_letters("f", [found.id for found in store.letters("f", code="20")])
                    store.close()
                    store = opened()
            for reader in (store, opened()):
                assert held(reader) == expected
                assert [info.epoch for info in reader.history("f", "r")] == [100, 99, 98]
                assert reader.load("f", "r") == replace(checkpoint(100), settled=True)
                assert [found.code for found in reader.letters("f")] == ["10", *(str(n) for n in range(30, 110, 10))]
                assert [found.code for found in reader.letters("f", status="dropped")] == ["20"]
