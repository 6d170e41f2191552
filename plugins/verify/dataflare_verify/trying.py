"""Runs the cases: each suite's methods ``test_…``, on each component with each of its examples."""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import DataflareError
from dataflare.testing.suite import Suite
from dataflare_verify.cases import LeftOut, said
from dataflare_verify.surroundings import Surroundings

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare_verify.examples import Example
    from dataflare_verify.subject import Subject

Json = Any


@dataclass(frozen=True)
class Outcome:
    """How one case of one component ended. ``wrong`` and ``left_out`` say why; neither: it held."""

    component: str
    """``kind:name``, or ``plugin`` for the whole."""
    case: str
    summary: str
    wrong: str = ""
    left_out: str = ""
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        """Whether nothing was wrong."""
        return not self.wrong


def suites(subject: Subject, thorough: bool = False) -> Iterator[tuple[str, list[type[Suite]]]]:
    """What is tried → a suite for each of its examples."""
    from dataflare_verify.whole import Whole

    yield "plugin", [type("Whole", (Whole,), {"subject": subject})]
    for component in subject.classes:
        base = _suite_of(component.kind)
        if base is not None:
            examples = subject.examples(component)
            name = f"{component.kind}:{component.spec.name}"
            made = [suite_for(base, subject, component, example) for example in examples]
            # One example is enough to be killed with, unless somebody has the time.
            made[0].kill, made[0].thorough = True, thorough  # type: ignore[attr-defined]
            for suite in made[1:]:
                suite.kill = suite.thorough = thorough  # type: ignore[attr-defined]
            yield name, made


def suite_for(base: type[Suite], subject: Subject, component: type[Component], example: Example) -> type[Suite]:
    """The suite of one component with one example."""
    around = Surroundings(example, subject.manifest.permissions)

    def prepare(folder: Path) -> dict[str, Json]:
        around.base = folder
        return example.prepare(folder)

    held: dict[str, Any] = {"thing": component, "config": {}, "prepare": staticmethod(prepare)}
    held |= {"surroundings": staticmethod(around), "around": around, "example": example, "subject": subject}
    held |= {"readback": None}
    if example.rows:
        from dataflare_verify.tables import cut

        held |= {"rows": example.batch.to_rows(), "batches": cut(example.batch, 3)}
    else:
        held |= {"rows": [], "batches": []}
    return type(base.__name__, (base,), held)


def cases_of(suite: type[Suite]) -> dict[str, Callable[..., None]]:
    """Name → method, in the order in which they stand: what the suite inherits first."""
    found: dict[str, Callable[..., None]] = {}
    for owner in reversed(suite.__mro__):
        for name in vars(owner):
            if name.startswith("test_"):
                found[name.removeprefix("test_").replace("_", "-")] = getattr(suite, name)
    return found


def outcomes(subject: Subject, only: str = "", thorough: bool = False) -> Iterator[Outcome]:
    """Run all cases whose ``component/case`` has ``only`` in it."""
    for component, tried in suites(subject, thorough):
        for case, method in cases_of(tried[0]).items():
            if only in f"{component}/{case}":
                yield _one(component, case, method, tried)


def _one(component: str, case: str, method: Callable[..., None], tried: list[type[Suite]]) -> Outcome:
    began = time.monotonic()
    wrong, reasons = "", []
    for number, suite in enumerate(tried, 1):
        where = f"example {number}: " if len(tried) > 1 else ""
        try:
            method(suite())
        except LeftOut as reason:
            reasons.append(f"{where}{reason}")
        except AssertionError as error:
            wrong = f"{where}{error}"
        except NotImplementedError:
            reasons.append(f"{where}nobody can read back what it writes")
        except DataflareError as error:
            wrong = where + said(error)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            wrong = f"{where}{said(error)} (in {Path(last.filename).name}, line {last.lineno})"
        if wrong:
            example: Example | None = getattr(suite, "example", None)
            if example is not None and example.guessed:
                wrong += f"\n(its example is guessed: give it one, [[{example.kind}.{example.name}]] in verify.toml)"
            break
    summary = (inspect.getdoc(method) or "").partition("\n")[0]
    left_out = reasons[0] if not wrong and len(reasons) == len(tried) else ""
    return Outcome(component, case, summary, wrong, left_out, time.monotonic() - began)


def _suite_of(kind: str) -> type[Suite] | None:
    if kind == "source":
        from dataflare_verify.sources import Sources

        return Sources
    if kind == "processor":
        from dataflare_verify.processors import Processors

        return Processors
    if kind == "sink":
        from dataflare_verify.sinks import Sinks

        return Sinks
    if kind == "tool":
        from dataflare_verify.tools import Tools

        return Tools
    return None
