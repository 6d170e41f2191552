"""The cases of tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dataflare.drive import ToolDriver
from dataflare.errors import DataflareError
from dataflare.testing.suite import require
from dataflare.testing.surroundings import driven
from dataflare_verify import configs
from dataflare_verify.cases import Case, LeftOut, clean, said
from dataflare_verify.memory import Memory


class Tools(Case):
    """What every tool keeps."""

    def test_it_answers(self) -> None:
        """The example's input is answered with JSON, and with what the example says."""
        with self.opened() as tool:
            steps = list(tool.call(self._input()))
            require(bool(steps) and steps[-1][0] and not any(last for last, _ in steps[:-1]), "it gives no last answer")
            for _, value in steps:
                json.dumps(value, allow_nan=False)
            found = steps[-1][1]
        wanted = self.example.output
        require(wanted is None or found == wanted, f"it answers {found!r} instead of {wanted!r}")

    def test_its_input_is_what_its_schema_says(self) -> None:
        """What the schema refuses is refused cleanly, and the tool goes on."""
        good = self._input()
        with self.opened() as tool:
            for what, given in configs.refused(tool.input_schema(), good):
                try:
                    answer = list(tool.call(given))
                except DataflareError as error:
                    clean(error)
                except Exception as error:
                    require(False, f"{what}: it fails with {said(error)}")
                else:
                    require(False, f"{what}: its schema refuses that, and it answers {answer}")
            list(tool.call(good))

    def test_it_answers_the_same_twice(self) -> None:
        """A tool that changes nothing."""
        if self.thing.spec.get("effects") == "writes":
            raise LeftOut("it says that it changes things")
        if self.example.output is None:
            raise LeftOut("its example does not say what it must answer")
        with self.opened() as first, self.opened() as second:
            answers = [tool.answer(**self._input()) for tool in (first, first, second)]
            require(answers[0] == answers[1] == answers[2], f"it answers {answers[0]!r}, then {answers[1:]!r}")

    def test_its_memory_stays_flat(self) -> None:
        """Over 1,000 calls."""
        if self.thing.spec.get("effects") == "writes":
            raise LeftOut("it says that it changes things")
        with self.opened() as tool, self.steady(Memory(tool.component)) as more:
            while more():
                list(tool.call(self._input()))

    def work_once(self) -> None:
        """Call it."""
        with self.opened() as tool:
            list(tool.call(self._input()))

    @contextmanager
    def opened(self) -> Iterator[ToolDriver]:
        """A fresh instance."""
        with (
            self.configured() as config,
            self.surrounded() as ctx,
            driven(self.thing, ToolDriver, ctx, config) as driver,
        ):
            yield driver

    def _input(self) -> dict[str, Any]:
        if self.example.input is not None:
            return self.example.placed(self.around.base, self.example.input)
        return configs.guess(self.subject.input_schema(self.thing))
