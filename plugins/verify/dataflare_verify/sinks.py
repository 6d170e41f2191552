"""The cases of sinks, beside those of ``dataflare.testing.sink_suite``."""

from __future__ import annotations

from dataflare.batch import Batch
from dataflare.testing.sink_suite import SinkSuite
from dataflare.testing.suite import require
from dataflare_verify import tables
from dataflare_verify.cases import Case, LeftOut, clean
from dataflare_verify.memory import Memory


class Sinks(SinkSuite, Case):
    """What every sink keeps."""

    def test_its_rows_can_be_read_back(self) -> None:
        """It takes all rows of its example, and `readback` gives them."""
        self.rows_of_example()
        with self.target() as target, target.opened() as sink:
            sink.commit(1, sink.prepare(1, self.rows_of_example()))
            require(not sink.rejects, f"it refuses rows of its example: {sink.rejects[:1]}")
        believed = target.ability == "append" or self.readable()
        require(believed, f"it says `{target.ability}`, and has no `readback` that could show it")

    def test_an_abort_may_come_again(self) -> None:
        """Of what was prepared, twice, and of an epoch that never was."""
        with self.target() as target, target.opened() as sink:
            token = sink.prepare(1, self.rows)
            sink.abort(1, token)
            sink.abort(1, token)
            sink.abort(7)
            sink.commit(2, sink.prepare(2, self.rows))

    def test_it_tells_the_epoch_that_it_holds(self) -> None:
        """`recover` never tells more than was committed, and forgets nothing."""
        with self.target() as target, target.opened() as sink:
            if not sink.driver.has("recover"):
                raise LeftOut("its target holds no epoch")
            before = sink.driver.recover()
            require(not before, f"an empty target holds the epoch {before}")
            token = sink.prepare(1, self.rows)
            held = sink.driver.recover()
            require(not held, f"prepared, not committed, the target holds the epoch {held}")
            sink.commit(1, token)
            held = sink.driver.recover()
            require(held in (None, 1), f"after epoch 1 the target holds the epoch {held}")

    def test_every_type_is_kept_or_refused(self) -> None:
        """A column of each Arrow type is read back with the values that were written, or refused."""
        whole = self.rows_of_example()
        for name in tables.types():
            batch = tables.typed(whole, name)
            with self.target() as target:
                try:
                    with target.opened() as sink:
                        sink.commit(1, sink.prepare(1, batch))
                        if sink.rejects:
                            continue
                        found = list(sink.driver.readback())
                except Exception as error:
                    clean(error)
                    continue
            _require_kept(found, batch, name)

    def test_rows_without_values_are_kept_or_refused(self) -> None:
        """One column after the other without a value in any row."""
        for _, batch in tables.with_nulls(self.rows_of_example()):
            with self.target() as target:
                try:
                    with target.opened() as sink:
                        sink.commit(1, sink.prepare(1, batch))
                        kept = len(batch) - len(sink.rejects)
                        rows = sum(map(len, sink.driver.readback()))
                except Exception as error:
                    clean(error)
                    continue
            least = 1 if target.ability == "idempotent" and kept else kept
            require(least <= rows <= kept, f"{kept} rows were taken, {rows} are read back")

    def test_a_hundred_thousand_rows(self) -> None:
        """An epoch of 100,000 rows in one batch, and one without any."""
        whole = self.rows_of_example()
        with self.target() as target, target.opened() as sink:
            sink.commit(1, sink.prepare(1, tables.many(whole)))
            sink.commit(2, sink.prepare(2, Batch(whole.arrow.slice(0, 0))))
            kept = sum(map(len, sink.driver.readback()))
            wanted = len(whole) if target.ability == "idempotent" else tables.MANY
            require(kept == wanted - len(sink.rejects), f"of {tables.MANY:,} rows, {kept:,} are read back")

    def test_a_stop_leaves_it_quick(self) -> None:
        """Once the flow stops, a batch ends soon, in whatever way, and so does closing."""
        with self.target() as target, target.opened() as sink:
            sink.write(1, self.rows)
            sink.ctx.cancel.set()
            with self.soon("a batch after the flow was stopped"):
                try:
                    sink.driver.write(self.rows_of_example())
                except Exception as error:
                    clean(error)
            with self.soon("closing"):
                sink.driver.close()

    def test_its_memory_stays_flat(self) -> None:
        """Over 1,000 batches, ten to an epoch."""
        whole = self.rows_of_example()
        with self.target() as target, target.opened() as sink, self.steady(Memory(sink.driver.component)) as more:
            epoch = 0
            while more():
                epoch += 1
                sink.write(epoch, *[whole] * 10)
                for _ in range(9):
                    more()
                sink.commit(epoch, sink.driver.prepare(epoch, False))

    def test_a_flow_with_it_may_be_killed_anywhere(self) -> None:
        """Killed around every step of an epoch, and again while it recovers: the target holds what was promised."""
        if not self.readable():
            raise LeftOut("nobody can read back what it writes")
        self.killed_and_judged()

    def work_once(self) -> None:
        """Write one epoch of the example."""
        with self.target() as target, target.opened() as sink:
            sink.commit(1, sink.prepare(1, self.rows))

    def readable(self) -> bool:
        """Whether the sink reads back what it wrote."""
        from dataflare.calling import is_overridden

        return self.readback is not None or is_overridden(self.thing, "readback")


def _require_kept(found: list[Batch], batch: Batch, name: str) -> None:
    """What is read back of the tried column is what was written, as far as its type says the same."""
    import pyarrow as pa

    written = batch[tables.COLUMN]
    have = [part for each in found if tables.COLUMN in each for part in [each[tables.COLUMN]]]
    rows = sum(map(len, found))
    require(rows == len(batch), f"{name}: {len(batch)} rows were written, {rows} are read back")
    read = pa.chunked_array(have, None if have else written.type)
    if read.null_count == len(read):
        return  # it takes the columns that it knows
    nulls = (read.null_count, written.null_count)
    require(nulls[0] == nulls[1], f"{name}: {nulls[1]} values are null, read back are {nulls[0]} as {read.type}")
    if pa.types.is_string(read.type) and not pa.types.is_string(written.type):
        return  # kept in a form of its own
    try:
        same = read.cast(written.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return  # kept in a form of its own
    values, wanted = (sorted(map(repr, each.to_pylist())) for each in (same, written))
    require(values == wanted, f"{name}: {wanted} were written, read back are {values}")
