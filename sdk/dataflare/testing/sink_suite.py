"""Conformance of sinks, by what they declare: invisible until decided, once if committed twice, gone if aborted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from dataflare.batch import Batch
from dataflare.calling import is_overridden
from dataflare.declare import component_class
from dataflare.errors import ConfigError
from dataflare.testing.suite import Prepare, Suite, require_same, suite_of
from dataflare.testing.writing import Epochs

Readback = Callable[[Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""The rows in the target, given the sink's configuration."""


def sink_suite(
    sink: Any, rows: Any, prepare: Prepare | None = None, readback: Readback | None = None, /, **config: Any
) -> Any:
    """A test class for a sink: ``TestFiles = sink_suite(Files, [{"n": 1}, {"n": 2}], lambda d: {"path": d / "a"})``.

    ``rows`` (at least two) are what is written, ``prepare(folder)`` makes an empty target and gives the configuration,
    ``readback(config)`` reads the target where the sink itself cannot. Raises ConfigError where nobody can.
    """
    cls = component_class(sink)
    if readback is None and (cls is None or not is_overridden(cls, "readback")):
        raise ConfigError.of(
            "testing.readback", "nobody can read what this sink writes", fix="write `readback`, or give a function"
        )
    made = None if readback is None else staticmethod(readback)
    return suite_of(SinkSuite, sink, prepare, config, rows=Batch.of(rows).to_rows(), readback=made)


class SinkSuite(Suite):
    """What every sink keeps."""

    rows: ClassVar[list[dict[str, Any]]]
    readback: ClassVar[Any]

    def test_what_is_committed_is_there(self) -> None:
        """Three epochs, the second of them empty."""
        first, second = self._halves()
        with self.target() as target:
            with target.opened() as sink:
                for epoch, rows in ((1, [first]), (2, []), (3, [second])):
                    sink.commit(epoch, sink.prepare(epoch, *rows))
            target.holds(self.rows, "after three epochs")

    def test_nothing_shows_before_the_commit(self) -> None:
        """Staged and transactional: what is prepared stays invisible."""
        first, second = self._halves()
        with self.target() as target:
            if not target.atomic:
                return
            with target.opened() as sink:
                sink.commit(1, sink.prepare(1, first))
                token = sink.prepare(2, second)
                target.holds(first, "after prepare, before commit")
                sink.commit(2, token)
            target.holds(self.rows, "after commit")

    def test_a_token_is_json(self) -> None:
        """It travels through the store."""
        with self.target() as target, target.opened() as sink:
            token = sink.prepare(1, self.rows)
            sink.commit(1, json.loads(json.dumps(token)))

    def test_a_commit_counts_once(self) -> None:
        """Repeated, on the same and on a fresh instance."""
        with self.target() as target:
            if target.ability == "append":
                return
            with target.opened() as sink:
                token = sink.prepare(1, self.rows)
                sink.commit(1, token)
                sink.commit(1, token)
            with target.opened(fence=2, epoch=1, tokens={"0": token}) as fresh:
                fresh.commit(1, token)
            target.holds(self.rows, "committed three times")

    def test_what_is_prepared_survives_its_instance(self) -> None:
        """A crash between commit point and commit: a fresh instance commits by the token alone."""
        with self.target() as target:
            if not target.atomic:
                return
            with target.opened() as sink:
                token = sink.prepare(1, self.rows)
            with target.opened(fence=2, epoch=1, tokens={"0": token}) as fresh:
                fresh.commit(1, token)
            target.holds(self.rows, "committed by a fresh instance")

    def test_an_abort_leaves_nothing(self) -> None:
        """Of an epoch that was written, and of one that was prepared; the number may come again."""
        first, second = self._halves()
        with self.target() as target:
            if not target.atomic:
                return
            with target.opened() as sink:
                sink.write(1, first)
                sink.abort(1)
            with target.opened(fence=2) as sink:
                token = sink.prepare(1, first)
                sink.abort(1, token)
                target.holds([], "after an abort")
            with target.opened(fence=3) as sink:
                sink.commit(1, sink.prepare(1, second))
            target.holds(second, "after the aborted epoch's number came again")

    def test_an_epoch_lost_in_a_crash_may_come_again(self) -> None:
        """A crash before the commit point: the rows are written again under a newer token, and count once."""
        with self.target() as target:
            if target.ability == "append":
                return
            with target.opened() as sink:
                sink.write(1, self.rows)
            with target.opened(fence=2) as sink:
                sink.commit(1, sink.prepare(1, self.rows))
            target.holds(self.rows, "written again after a crash")

    def _halves(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        middle = max(1, len(self.rows) // 2)
        return self.rows[:middle], self.rows[middle:]

    @contextmanager
    def target(self) -> Iterator[Target]:
        """A fresh, empty target."""
        with self.configured() as config, tempfile.TemporaryDirectory() as cache:
            yield Target(self, config, Path(cache))


class Target:
    """Where the sink under test writes."""

    def __init__(self, suite: SinkSuite, config: Mapping[str, Any], cache: Path) -> None:
        self._suite = suite
        self._config = dict(config)
        self._cache = cache
        self._open: Epochs | None = None
        cls = component_class(suite.thing)
        self.ability = str(cls.spec.get("ability", "append")) if cls is not None else "append"
        self.atomic = self.ability in ("staged", "transactional")

    @contextmanager
    def opened(
        self, fence: int = 1, epoch: int = 0, tokens: dict[str, Any] | None = None, made: Any = None
    ) -> Iterator[Epochs]:
        """A fresh instance on this target."""
        ctx = type(self._suite).surroundings(self._cache)
        given = {"fence": fence, "epoch": epoch, "tokens": tokens, "made": made, "ctx": ctx, **self._config}
        with Epochs(self._suite.thing, **given) as sink:
            self._open = sink
            yield sink
            self._open = None

    def holds(self, rows: Sequence[Mapping[str, Any]], when: str) -> None:
        """Fail unless the target holds exactly these rows, in any order."""
        if self._suite.readback is not None:
            found = [dict(row) for row in self._suite.readback(self._config)]
        elif self._open is not None:
            found = self._open.rows()
        else:
            with self.opened(fence=99, made={"existing": "append"}) as reader:
                found = reader.rows()
        require_same(sorted(found, key=repr), sorted(map(dict, rows), key=repr), f"{when}, the target holds")
