"""Errors as data: a code, a place, a cause and a fix.

::

    DataflareError                 one or more problems, for people and for programs
    ├── ConfigError                a configuration or a flow file is wrong; nothing has started
    ├── StateError                 a store is locked, damaged, ahead or does not match the plan
    │   └── Fenced                 a newer owner holds the lease; this one must stop at once
    ├── OriginLost                 a batch no longer knows which input rows it came from
    ├── PermissionDenied           the grant does not hold what was asked for
    └── Failed                     a component failed for good (kind ``fatal``)
        └── InstanceLost           an instance is gone with what it held: the epoch has to be repeated
    Reject                         instruction: this row or batch is refused
    Retry                          instruction: not now, ask again

Only ``Reject`` and ``Retry`` steer the engine; every other exception means that the step failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

Kind = Literal["config", "retry", "reject", "fatal"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with where it is and what to do about it.

    ``code`` is dotted and stable, ``pointer`` a JSON pointer into the flow or configuration,
    ``line`` and ``column`` count from one.
    """

    code: str
    message: str
    kind: Kind = "config"
    pointer: str | None = None
    cause: str | None = None
    fix: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def at(self, **place: Any) -> Problem:
        """The same problem at another place (``file``, ``line``, ``column``, ``pointer``)."""
        return replace(self, **place)

    def as_json(self) -> dict[str, Any]:
        """The problem as a JSON object; fields without a value are ``null``."""
        given = {
            "code": self.code,
            "message": self.message,
            "kind": self.kind,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "pointer": self.pointer,
            "cause": self.cause,
            "fix": self.fix,
        }
        return {**given, "details": self.details} if self.details else given

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Problem:
        """The problem that ``as_json`` told; words that this version does not know are left out."""
        return cls(**{key: told[key] for key in told if key in cls.__dataclass_fields__})

    def place(self) -> str:
        """Where it is, as ``flow.yaml:14:3  /sources/orders``; empty if unknown."""
        spot = self.file or ""
        if self.line is not None:
            spot += f":{self.line}" + (f":{self.column}" if self.column is not None else "")
        return "  ".join(part for part in (spot, self.pointer) if part)

    def render(self) -> str:
        """The problem as lines for a terminal."""
        rows = [f"{self.code}  {self.message}"]
        for label, text in (("at", self.place()), ("why", self.cause), ("fix", self.fix)):
            if text:
                rows.append(f"  {label:<4}{text}")
        return "\n".join(rows)


class DataflareError(Exception):
    """One or more problems; ``str(error)`` shows each with place, cause and fix."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems: tuple[Problem, ...] = problems

    @property
    def code(self) -> str:
        """The code of the first problem."""
        return self.problems[0].code if self.problems else "internal.unknown"

    def __str__(self) -> str:
        return "\n".join(problem.render() for problem in self.problems)

    @classmethod
    def of(cls, code: str, message: str, **more: Any) -> Self:
        """An error with one problem: ``StateError.of("state.locked", "...", fix="...")``."""
        more.setdefault("kind", cls.kind)
        return cls(Problem(code, message, **more))

    kind: Kind = "fatal"
    exit_code: int = 1
    """What a command line that fails by it ends with; a bundle's own errors say their own."""


class ConfigError(DataflareError):
    """A configuration, flow or command line is wrong; nothing has started."""

    kind: Kind = "config"
    exit_code: int = 2


class StateError(DataflareError):
    """A state store cannot be used: locked, damaged, ahead of or not matching the plan."""


class Fenced(StateError):
    """A newer owner holds the lease: nothing may be written any more by this one."""


class OriginLost(DataflareError):
    """A batch no longer knows which rows of the step's input it came from."""


class PermissionDenied(DataflareError):
    """The effective grant does not hold what was asked for; the message names what is missing."""


class Failed(DataflareError):
    """A component failed for good."""


class InstanceLost(Failed):
    """An instance is gone, and with it what it held since the last epoch: only the whole epoch can be repeated."""


class Reject(Exception):
    """Refuse this row (row-wise) or this batch: it becomes a dead letter with this code."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class Retry(Exception):
    """Not now: call again after ``after`` seconds (the engine's back-off, if None).

    In ``write``, ``rows`` (a boolean for each row, or a batch derived from the one given) names those still to do.
    """

    def __init__(self, after: float | None = None, cause: object = None, *, rows: Any = None) -> None:
        super().__init__(str(cause) if cause is not None else "try again later")
        self.after = after
        self.rows = rows


def problem_of(error: BaseException, code: str = "internal.error", **more: Any) -> Problem:
    """The problem an exception stands for; a foreign exception becomes one with its type as cause."""
    if isinstance(error, DataflareError) and error.problems:
        return error.problems[0]
    if isinstance(error, Reject):
        return Problem(error.code, error.message or error.code, kind="reject", **more)
    if isinstance(error, Retry):
        return Problem("step.retry", str(error), kind="retry", **more)
    kind = more.pop("kind", "fatal")
    return Problem(code, str(error) or type(error).__name__, kind=kind, cause=type(error).__name__, **more)
