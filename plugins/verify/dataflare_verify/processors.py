"""The cases of processors, beside those of ``dataflare.testing.processor_suite``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dataflare.batch import Batch
from dataflare.testing.bench import Results
from dataflare.testing.processor_suite import ProcessorSuite
from dataflare.testing.suite import require, require_same
from dataflare.testing.verdict import counted
from dataflare_verify import tables
from dataflare_verify.cases import Case, LeftOut, clean
from dataflare_verify.memory import Memory

MANY = 2_000
"""Values of an older version that are taken over at once."""


class Processors(ProcessorSuite, Case):
    """What every processor keeps."""

    def test_it_takes_the_rows_of_its_example(self) -> None:
        """Something comes out, or is refused."""
        self.rows_of_example()
        with self.configured() as config:
            made = self._run(config)
            require(bool(made.rejects) or any(made.outputs.values()), "nothing comes of its rows: give it others")

    def test_batches_may_be_cut_anywhere(self) -> None:
        """The same rows one by one, in two batches and in one: after a crash they are cut elsewhere."""
        with self.configured() as config:
            if not self._spec("deterministic", True):
                raise LeftOut("it says that it is not deterministic")
            whole = self.rows_of_example()
            wanted = self._run(config, [whole])
            for parts in (2, 3, len(whole)):
                found = self._run(config, tables.cut(whole, parts))
                _require_same_rows(found, wanted, f"fed in {parts} batches")

    def test_keys_may_be_shared_out(self) -> None:
        """Lanes that hold a part of the keys each give together what one lane gives."""
        with self.configured() as config:
            if self._spec("by", None) is None:
                raise LeftOut("it has no keys")
            if not self._spec("deterministic", True):
                raise LeftOut("it says that it is not deterministic")
            whole = self.rows_of_example()
            with self.bench(config) as bench:
                columns = bench.driver.columns
            groups: dict[str, list[int]] = {}
            for index, key in enumerate(whole.select(list(columns)).to_rows()):
                groups.setdefault(repr(key), []).append(index)
            joined = Results()
            for lane in range(2):
                mine = sorted(i for number, rows in enumerate(groups.values()) if number % 2 == lane for i in rows)
                made = self._run(config, [whole.take(mine).as_input()] if mine else [])
                joined.batches += made.batches
                joined.rejects += made.rejects
            _require_same_rows(joined, self._run(config, [whole]), "in two lanes", ordered=False)

    def test_every_type_passes_or_is_refused(self) -> None:
        """A column of each Arrow type comes out as it went in, or it says that it cannot take it."""
        whole = self.rows_of_example()
        with self.configured() as config:
            for name in tables.types():
                batch = tables.typed(whole, name)
                for output, found in self._passed(config, batch):
                    if tables.COLUMN in found:
                        self._require_from(found, batch, f"`{output}`, {name}")

    def test_rows_without_values_pass_or_are_refused(self) -> None:
        """One column after the other without a value in any row."""
        with self.configured() as config:
            for name, batch in tables.with_nulls(self.rows_of_example()):
                for output, found in self._passed(config, batch):
                    for field in found.schema:
                        holds = field.nullable or not found[field.name].null_count
                        told = f"without `{name}`, `{output}` has nulls in `{field.name}`"
                        require(holds, f"{told}, which cannot be null")

    def test_a_hundred_thousand_rows(self) -> None:
        """One batch of 100,000 rows gives what smaller ones give."""
        with self.configured() as config:
            large = tables.many(self.rows_of_example())
            with self.bench(config) as bench:
                bench.feed(large)
                once = bench.results
                passed, refused = sum(len(made) for _, made in once.batches), len(once.rejects)
                cardinality = self._spec("cardinality", "any")
                told = f"of {len(large):,} rows, {passed:,} came out and {refused:,} were refused"
                require(cardinality != "one" or passed + refused == len(large), told)
                require(cardinality != "filter" or passed + refused <= len(large), told)
            if not self._spec("deterministic", True):
                return
            with self.bench(config) as bench:
                for part in tables.cut(large, 7):
                    bench.feed(part)
                require(len(bench.results.rejects) == refused, f"{told}; cut in seven {len(bench.results.rejects):,}")
                for output, table in _tables(once).items():
                    require(_tables(bench.results)[output].equals(table), f"cut in seven, `{output}` is another")

    def test_it_changes_what_it_says(self) -> None:
        """Of the input's columns it changes those of `writes`, and looks at those of `reads`, no others."""
        reads, writes = self._spec("reads", None), self._spec("writes", None)
        if (reads is None and writes is None) or self._spec("cardinality", "any") != "one":
            raise LeftOut("it does not say which columns it reads and writes, row by row")
        whole = self.rows_of_example()
        with self.configured() as config:
            made = self._run(config, [whole])
            for column in whole.columns if writes is not None and not made.rejects else ():
                for _, found in made.batches:
                    if column in found and column not in writes:
                        require(found[column].equals(whole[column]), f"`writes` has no `{column}`, yet it is changed")
            for column in whole.columns if reads is not None else ():
                if column not in reads:
                    other = whole.with_column(column, whole[column].take(list(reversed(range(len(whole))))))
                    self._require_unread(column, made, self._run(config, [Batch(other.arrow)]))

    def test_state_of_an_older_version_is_taken_over(self) -> None:
        """A value of an older version becomes the same by itself and among thousands."""
        with self.configured() as config, self.bench(config) as bench:
            driver = bench.driver
            if not driver.has("migrate_state"):
                raise LeftOut("it takes over no state of an older version")
            if not self.example.older:
                raise LeftOut("its example has no values of an older version (`older`)")
            for older in self.example.older:
                alone = [driver.migrate_states(older.version, older.state, [value])[0] for value in older.values]
                times = MANY // max(1, len(alone)) + 1
                found = driver.migrate_states(older.version, older.state, older.values * times)
                require_same(found, alone * times, f"version {older.version} of `{older.state}` among many gives")

    def test_a_stop_leaves_it_quick(self) -> None:
        """Once the flow stops, a batch ends soon, in whatever way, and so does closing."""
        with self.configured() as config, self.bench(config) as bench:
            bench.feed(self.rows_of_example())
            bench.ctx.cancel.set()
            with self.soon("a batch after the flow was stopped"):
                try:
                    bench.feed(self.rows_of_example())
                except Exception as error:
                    clean(error)
            with self.soon("closing"):
                bench.driver.close()

    def test_a_refusal_leaves_it_usable(self) -> None:
        """After an error of any kind, the same instance takes the next batch."""
        with self.configured() as config, self.bench(config) as bench:
            bench.feed(self.rows_of_example())
            try:
                bench.driver.process(Batch.of([{"x_unknown_column": 1}]))
            except Exception as error:
                clean(error)
            bench.state.discard()
            bench.timers.discard()
            bench.feed(self.rows_of_example())

    def test_its_memory_stays_flat(self) -> None:
        """Over 1,000 batches."""
        whole = self.rows_of_example()
        with (
            self.configured() as config,
            self.bench(config) as bench,
            self.steady(Memory(bench.driver.component)) as more,
        ):
            while more():
                bench.feed(whole)
                bench.results.batches.clear()
                bench.results.rejects.clear()

    def work_once(self) -> None:
        """Feed it the example."""
        with self.configured() as config:
            self._run(config)

    def _passed(self, config: Any, batch: Batch) -> list[tuple[str, Batch]]:
        """What a batch became, by output; nothing where it was refused in words."""
        try:
            return self._run(config, [batch]).batches
        except Exception as error:
            clean(error)
            return []

    def _require_from(self, found: Batch, given: Batch, what: str) -> None:
        """Every value of the tried column was given, and not more often where rows are not multiplied."""
        import pyarrow as pa

        have, had = found[tables.COLUMN], given[tables.COLUMN]
        if not have.type.equals(had.type):
            try:
                have = have.cast(had.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise AssertionError(f"{what}: the column was {had.type} and came out as {have.type}") from None
        values, known = Counter(map(repr, have.to_pylist())), Counter(map(repr, had.to_pylist()))
        strange = [value for value in values if value not in known]
        require(not strange, f"{what}: {strange[:1]} was not given; given were {list(known)}")
        if self._spec("cardinality", "any") in ("one", "filter"):
            more = [value for value in values if values[value] > known[value]]
            require(not more, f"{what}: {more[:1]} came more often than it was given")

    def _require_unread(self, column: str, made: Results, other: Results) -> None:
        for (_, was), (_, became) in zip(made.batches, other.batches, strict=True):
            for name in was.columns:
                same = name == column or (name in became and became[name].equals(was[name]))
                require(same, f"`reads` has no `{column}`, yet `{name}` depends on it")


def _tables(made: Results) -> dict[str, Any]:
    """Output → all its rows as one Arrow table."""
    import pyarrow as pa

    found: dict[str, list[Any]] = {}
    for output, batch in made.batches:
        found.setdefault(output, []).append(batch.arrow)
    return {output: pa.Table.from_batches(batches) for output, batches in found.items()}


def _require_same_rows(found: Results, wanted: Results, what: str, *, ordered: bool = True) -> None:
    refused = [counted((each.row, each.code) for each in made.rejects) for made in (found, wanted)]
    require(refused[0] == refused[1], f"{what}, refused are {len(found.rejects)} rows instead of {len(wanted.rejects)}")
    for output in {*found.outputs, *wanted.outputs}:
        rows, others = found.outputs.get(output, []), wanted.outputs.get(output, [])
        if not ordered:
            rows, others = sorted(rows, key=repr), sorted(others, key=repr)
        require_same(rows, others, f"{what}, the output `{output}` has")
