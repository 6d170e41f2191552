"""Conformance of processors: the same answers twice, plans that hold, snapshots that continue exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from dataflare.batch import Batch
from dataflare.testing.bench import Bench, Rejection, Results, Snapshot
from dataflare.testing.suite import Prepare, Suite, require, require_same, suite_of


def processor_suite(processor: Any, batches: Sequence[Any], prepare: Prepare | None = None, /, **config: Any) -> Any:
    """A test class for a processor: ``TestVat = processor_suite(with_vat, [[{"net": 1.0}], [{"net": 2.0}]])``.

    ``batches`` are what it is fed: at least two, better more, with rows that it passes, changes and refuses.
    ``prepare(folder)`` gives (more of) its configuration.
    """
    return suite_of(ProcessorSuite, processor, prepare, config, batches=list(batches))


class ProcessorSuite(Suite):
    """What every processor keeps."""

    batches: ClassVar[list[Any]]

    def test_the_same_batches_give_the_same(self) -> None:
        """Two instances, the same input: the same rows and refusals, unless it is declared otherwise."""
        with self.configured() as config:
            first, second = self._run(config), self._run(config)
            if self._spec("deterministic", True):
                _require_equal(second, first, "run again")

    def test_a_snapshot_continues_exactly(self) -> None:
        """Cut after every batch: a fresh instance that restores the snapshot goes on as if nothing had happened."""
        with self.configured() as config:
            whole = self._run(config)
            if not self._spec("deterministic", True):
                return
            for cut in range(len(self.batches) + 1):
                before, snapshot = self._until(config, cut)
                after = self._run(config, self.batches[cut:], snapshot)
                joined = Results(before.batches + after.batches, before.rejects + after.rejects)
                _require_equal(joined, whole, f"restored after {cut} batches")

    def test_a_call_that_fails_leaves_no_state(self) -> None:
        """A batch given twice because the first call was discarded counts once."""
        with self.configured() as config:
            if not self._spec("deterministic", True) or self._spec("by", None) is None:
                return
            whole = self._run(config)
            with self.bench(config) as bench:
                for rows in self.batches:
                    snapshot = bench.snapshot()
                    bench.driver.plan({"": _schema(rows)})
                    bench.driver.process(Batch.of(rows))
                    bench.state.discard()
                    bench.timers.discard()
                    require(bench.snapshot() == snapshot, "it keeps state outside of its declared State")
                    bench.feed(rows)
                bench.finish()
                _require_equal(bench.results, whole, "with each batch tried twice")

    def test_the_plan_holds(self) -> None:
        """Every output has the planned columns and types."""
        with self.configured() as config, self.bench(config) as bench:
            for rows in self.batches:
                bench.schemas = bench.driver.plan({"": _schema(rows)})
                for name, made in bench.feed(rows).batches:
                    planned = bench.schemas.get(name)
                    require(planned is not None, f"the output `{name}` was neither declared nor planned")
                    if planned is not None and not planned.open:
                        require(made.schema.equals(planned.arrow), f"`{name}` has {made.schema}, planned was {planned}")

    def test_no_rows_give_no_rows(self) -> None:
        """An empty batch passes without a row and without an error."""
        with self.configured() as config, self.bench(config) as bench:
            made = bench.feed(Batch.of(self.batches[0]).slice(0, 0))
            require(not any(made.outputs.values()), f"no rows became {made.outputs}")

    def test_a_row_is_passed_or_refused(self) -> None:
        """Where one row out of each row is declared: as many rows come out as go in, the refused ones counted."""
        with self.configured() as config:
            made, fed = self._run(config), sum(len(Batch.of(rows)) for rows in self.batches)
            came = len(made.rejects) + sum(len(rows) for rows in made.outputs.values())
            cardinality = self._spec("cardinality", "any")
            require(cardinality != "one" or came == fed, f"{fed} rows went in, {came} came out or were refused")
            require(cardinality != "filter" or came <= fed, f"{fed} rows went in, {came} came out or were refused")

    @contextmanager
    def bench(self, config: dict[str, Any], snapshot: Snapshot | None = None) -> Iterator[Bench]:
        """A fresh instance."""
        with self.surrounded() as ctx, Bench(self.thing, snapshot=snapshot, ctx=ctx, **config) as bench:
            yield bench

    def _run(
        self, config: dict[str, Any], batches: Sequence[Any] | None = None, snapshot: Snapshot | None = None
    ) -> Results:
        with self.bench(config, snapshot) as bench:
            for rows in self.batches if batches is None else batches:
                bench.feed(rows)
            bench.finish()
            return bench.results

    def _until(self, config: dict[str, Any], cut: int) -> tuple[Results, Snapshot]:
        with self.bench(config) as bench:
            for rows in self.batches[:cut]:
                bench.feed(rows)
            return bench.results, bench.snapshot()

    def _spec(self, ability: str, default: Any) -> Any:
        from dataflare.declare import component_class

        cls = component_class(self.thing)
        return default if cls is None else cls.spec.get(ability, default)


def _schema(rows: Any) -> Any:
    from dataflare.schema import Schema

    return Schema(Batch.of(rows).schema)


def _require_equal(found: Results, wanted: Results, what: str) -> None:
    require(found.outputs.keys() == wanted.outputs.keys(), f"{what}: the outputs are {list(found.outputs)}")
    for name, rows in wanted.outputs.items():
        require_same(found.outputs[name], rows, f"{what}, the output `{name}` has")
    refused: Callable[[Rejection], tuple[Any, str]] = lambda rejection: (rejection.row, rejection.code)  # noqa: E731
    require_same(list(map(refused, found.rejects)), list(map(refused, wanted.rejects)), f"{what}, refused were")
