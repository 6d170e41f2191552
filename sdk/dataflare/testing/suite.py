"""What the conformance suites share."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from dataflare.context import Context
from dataflare.testing.surroundings import component, context

Prepare = Callable[[Path], Mapping[str, Any]]
"""Makes what the component reads or writes in a fresh folder, and gives its configuration."""


class Suite:
    """Tests of one component that any test runner collects."""

    thing: ClassVar[Any]
    config: ClassVar[Mapping[str, Any]]
    prepare: ClassVar[Prepare | None]
    surroundings: ClassVar[Callable[[Path], Context]] = staticmethod(context)
    """Makes the Context of each instance, given its cache folder."""

    def test_it_says_what_it_is(self) -> None:
        """A summary, a configuration schema that is JSON, and a configuration that survives as JSON."""
        from dataflare.config import dump, json_schema

        with self.configured() as config:
            made = component(self.thing, **config)
            require(bool(made.spec.summary), "its docstring needs a first line: it is shown everywhere")
            json.dumps(json_schema(type(made)))
            json.dumps(dump(made))

    def test_check_finds_nothing(self) -> None:
        """``check`` accepts the configuration, and may be called without open."""
        from dataflare.drive import driver_for

        with self.configured() as config, self.surrounded() as ctx:
            driver = driver_for(component(self.thing, **config), ctx)
            problems = driver.check()
            driver.close()
            require(not problems, "\n".join(problem.render() for problem in problems))

    @classmethod
    @contextmanager
    def configured(cls) -> Iterator[dict[str, Any]]:
        """The configuration, with what it needs in a folder that goes at the end."""
        with tempfile.TemporaryDirectory(prefix="dataflare-") as folder:
            made = cls.prepare(Path(folder)) if cls.prepare is not None else {}
            yield {**cls.config, **made}

    @classmethod
    @contextmanager
    def surrounded(cls) -> Iterator[Context]:
        """What one instance finds around it, with a cache folder that goes at the end."""
        with tempfile.TemporaryDirectory(prefix="dataflare-") as cache:
            yield cls.surroundings(Path(cache))


def suite_of(base: type[Suite], thing: Any, prepare: Prepare | None, config: Mapping[str, Any], **more: Any) -> Any:
    """A suite for one component."""
    held = {"thing": staticmethod(thing) if _is_function(thing) else thing, "config": config}
    made_by = None if prepare is None else staticmethod(prepare)
    return type(base.__name__, (base,), {**held, "prepare": made_by, "__doc__": base.__doc__, **more})


def require(holds: bool, message: str) -> None:
    """Fail the test with a message unless it holds."""
    if not holds:
        raise AssertionError(message)


def require_same(found: Any, wanted: Any, what: str) -> None:
    """Fail the test where two lists of rows differ; the message shows the first difference."""
    if found == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(len(found), len(wanted)))
    raise AssertionError(
        f"{what}: {len(found)} rows instead of {len(wanted)}; the first difference is at row {at}:"
        f" {found[at : at + 1]} instead of {wanted[at : at + 1]}"
    )


def _is_function(thing: Any) -> bool:
    return callable(thing) and not isinstance(thing, type)
