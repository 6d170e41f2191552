"""Kills runs of a flow at every place where a death matters, and judges what its sinks hold afterwards.

What a run goes through is found out by an undisturbed run (``dataflare.crash``), so the places of an author's own
connectors are killed like those of the engine, the stores and the sinks.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from dataflare.testing.forked import Ended, Forked
from dataflare.testing.suite import require
from dataflare.testing.verdict import Held, Verdict, counted, judged, level_of, seen

Make = Callable[[Path], Path]
"""Writes a flow and what it needs into an empty folder; the path of the flow."""
Content = Callable[[Path], Mapping[str, Iterable[Any]]]
"""The rows that each sink's target in that folder holds, by the sink's name; none where there is no target yet."""


def crash_suite(make: Make, content: Content, /, places: Collection[str] | None = None, **labels: str) -> Any:
    """A test class for a flow: ``TestShop = crash_suite(make, content)``.

    ``make(folder)`` writes the flow and gives its path (it must come to its end by itself), ``content(folder)`` reads
    what its sinks wrote. ``places`` are the names of those to kill at, by default all that a run passes. ``labels``
    (``store="file"``) are shown in the table that ``pytest --crashes full`` prints.
    """
    held: dict[str, Any] = {"start": staticmethod(partial(Crashes, make, content)), "places": places}
    held |= {"labels": labels, "verdicts": []}
    return type("CrashSuite", (CrashSuite,), {**held, "__doc__": CrashSuite.__doc__})


class CrashSuite:
    """Killed at any place, run again, killed again while it recovers, run again: each sink keeps its guarantee."""

    start: ClassVar[Callable[[], Crashes]]
    places: ClassVar[Collection[str] | None]
    labels: ClassVar[dict[str, str]]
    verdicts: ClassVar[list[Verdict]]

    def test_every_place(self) -> None:
        """Every place that a run passes; with ``--crashes full`` three passes of each, with one kill and with two."""
        self.verdicts.clear()
        for verdict in type(self).start().everywhere(self.places, full=os.environ.get("DATAFLARE_CRASHES") == "full"):
            self.verdicts.append(replace(verdict, labels=self.labels))
        broken = [each for each in self.verdicts if not each.held]
        said = [f"{each.kills}: `{each.sink}` ({each.guarantee}): {each.wrong}" for each in broken]
        require(not broken, "\n".join([f"{len(broken)} of {len(self.verdicts)} did not hold", *said]))


@dataclass(frozen=True)
class Stage:
    """A folder with a flow, in which runs follow each other."""

    folder: Path
    flow: Path

    def start(self, crash: str = "", *words: str, first: Callable[[], None] | None = None, trace: str = "") -> Forked:
        """A run under way, with more ``words`` for the command; ``crash`` is where it is to die or to freeze.

        ``first`` is called in its process before anything else, ``trace`` names the file for what it passes.
        """
        variables = {"DATAFLARE_CRASH": crash, "DATAFLARE_CRASH_TRACE": trace}
        return Forked(self.folder, "run", str(self.flow), "--json", *words, variables=variables, first=first)

    def run(self, crash: str = "", *words: str, first: Callable[[], None] | None = None, trace: str = "") -> Ended:
        """A run and its end."""
        return self.start(crash, *words, first=first, trace=trace).end()


class Crashes:
    """Runs one flow again and again, each time in a fresh folder, and kills it."""

    def __init__(self, make: Make, content: Content, *, seed: int = 1) -> None:
        self._make = make
        self._content = content
        self._drawn = random.Random(seed)
        with self.stage() as stage:
            self.guarantees = _guarantees(stage.flow)
            """What the plan promises for each sink."""
            trace = stage.folder / ".trace"
            finished(stage.run(trace=str(trace)))
            self.passes = Counter(trace.read_text().split())
            """How often an undisturbed run passes each place."""
            self.wanted = self.held(stage)
            """What each sink holds after it."""
        require(self.wanted.keys() == self.guarantees.keys(), f"`content` tells of {', '.join(self.wanted)}")

    def everywhere(self, places: Collection[str] | None = None, *, full: bool = False) -> Iterator[Verdict]:
        """A verdict for each place and each sink."""
        for point, passes in self.passes.items():
            if places is not None and point not in places:
                continue
            numbers = sorted({1, (passes + 1) // 2, passes}) if full else [(passes + 1) // 2]
            for number in numbers:
                yield from self.killed(f"{point}:{number}", self._again())
                if full:
                    yield from self.killed(f"{point}:{number}")

    def killed(self, *kills: str) -> list[Verdict]:
        """Runs that are killed at these places, then one that is not; empty where the first kill never came."""
        found: list[Verdict] = []
        with self.stage() as stage:
            for number, kill in enumerate(kills):
                ended = stage.run(kill)
                if not ended.killed:
                    finished(ended)
                    if not number:
                        return []
                    break
                found += [verdict for verdict in self.judge(kills, stage, seen) if not verdict.held]
            else:
                finished(stage.run())
            found += self.judge(kills, stage, judged)
        return found

    def judge(self, kills: Iterable[str], stage: Stage, by: Callable[..., Verdict] = judged) -> list[Verdict]:
        """One verdict a sink."""
        held, told = self.held(stage), " then ".join(kills)
        return [by(told, sink, level, self.wanted[sink], held[sink]) for sink, level in self.guarantees.items()]

    def held(self, stage: Stage) -> dict[str, Held]:
        """What the sinks' targets hold."""
        given = {sink: counted(rows) for sink, rows in self._content(stage.folder).items()}
        return {sink: given.get(sink, Counter()) for sink in {**self.guarantees, **given}}

    @contextmanager
    def stage(self) -> Iterator[Stage]:
        """A fresh folder with the flow."""
        with tempfile.TemporaryDirectory(prefix="dataflare-", ignore_cleanup_errors=True) as name:
            yield Stage(Path(name), self._make(Path(name)))

    def _again(self) -> str:
        """Where the next run is killed: the first few places that it passes are those of the recovery."""
        return f"*:{self._drawn.randint(1, 14)}"


def finished(ended: Ended) -> None:
    """Fail the test where a run did not come to its end."""
    said = ended.json or {}
    require(ended.code == 0 and said.get("status") == "finished", f"exit code {ended.code}: {ended.err}{ended.out}")


def _guarantees(flow: Path) -> dict[str, str]:
    """The guarantee of each sink: the weakest of its paths."""
    with import_module("dataflare_host").Host.start() as host:
        paths = host.plan(flow).guarantee.paths
    sinks = dict.fromkeys(path.sink for path in paths)
    return {sink: level_of([path for path in paths if path.sink == sink]) for sink in sinks}
