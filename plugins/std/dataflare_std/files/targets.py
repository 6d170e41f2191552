"""What the three kinds of target share: their settings, how staged files are named, how names are published."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dataflare import crash
from dataflare.context import Context
from dataflare.errors import Failed
from dataflare_std.files.staging import Staged, sync_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from dataflare.split import Resume

Token = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How a target is written. ``existing``: what to do with rows that were there before this incarnation."""

    path: Path
    form: str
    delimiter: str = ","
    roll_rows: int | None = None
    roll_bytes: int | None = None


class Target(Protocol):
    """Where a sink's epochs go."""

    def open(self, ctx: Context, resume: Resume) -> None:
        """Take the lock, see that the target is what the last epoch left, throw away what no epoch holds."""

    def begin(self) -> None:
        """Forget a staged file of an epoch that was not prepared."""

    def write(self, rows: pa.RecordBatch, ctx: Context) -> None:
        """Stage rows."""

    def prepare(self, epoch: int, last: bool, ctx: Context) -> Token:
        """Make the staged rows durable."""

    def commit(self, token: Token) -> None:
        """Publish what a token names; repeatable."""

    def committed(self, tokens: list[Token]) -> None:
        """All tokens of the epoch were published."""

    def abort(self, tokens: list[Token]) -> None:
        """Throw away what is staged."""

    def close(self) -> None:
        """Let go of the target."""


def existing_rule(resume: Resume) -> str | None:
    """``replace`` or ``append``, as the operator asked for rows that were there before; None: refuse."""
    made = resume.made if isinstance(resume.made, dict) else {}
    found = made.get("existing")
    return found if found in ("replace", "append") else None


def not_empty(path: Path) -> Failed:
    """The refusal of a target with rows that this incarnation did not write."""
    return Failed.of(
        "sink.not_empty",
        f"`{path}` holds rows already, and this flow starts from the beginning",
        fix="choose `--from-start --replace` or `--from-start --append`, move the old rows away, or change `path`",
    )


def target_changed(path: Path, cause: str) -> Failed:
    """The refusal of a target that is not as the last epoch left it."""
    return Failed.of(
        "sink.target_changed",
        f"`{path}` is not as this flow left it",
        cause=cause,
        fix="put the former file back, or begin again with `--from-start --replace`",
    )


def staged_missing(path: Path, name: str) -> Failed:
    """A decided epoch whose staged file is gone."""
    return Failed.of(
        "sink.staged_missing",
        f"the rows of a decided epoch are neither in `{path}` nor beside it",
        cause=f"`{name}` is gone",
        fix="begin again with `--from-start --replace`",
    )


def publish(staged: Path, final: Path) -> None:
    """Give a staged file its name, never another file's; repeatable. Raises Failed (``sink.not_empty``)."""
    try:
        os.link(staged, final)
    except FileExistsError as error:
        if not os.path.samefile(staged, final):
            raise not_empty(final) from error
    except FileNotFoundError as error:
        if not final.exists():
            raise staged_missing(final, staged.name) from error
        return
    crash.point("sink-publish")
    sync_folder(final.parent)
    staged.unlink(missing_ok=True)


def staged_name(target: str, ctx: Context, epoch: int, number: int = 0) -> str:
    """The name of a hidden file: incarnation, flow, step, lane, epoch and token are in it."""
    return f".{target}.{safe(ctx.name(epoch))}-{number}.staged"


def safe(name: str) -> str:
    """A name without path separators."""
    return name.replace(os.sep, "_")


def sweep(folder: Path, target: str, ctx: Context, live: set[str]) -> None:
    """Remove staged files of this step and lane that no live token names and no newer owner made."""
    marker = safe(f"-{ctx.flow}-{ctx.step}-{ctx.lane}-")
    for path in folder.glob(f".{_literal(target)}.*.staged"):
        rest = path.name.removeprefix(f".{target}.").removesuffix(".staged")
        _, found, numbers = rest.partition(marker)
        parts = numbers.split("-")
        if found and len(parts) == 3 and path.name not in live and parts[1].isdigit() and int(parts[1]) <= ctx.fence:
            path.unlink(missing_ok=True)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def new_staged(settings: Settings, folder: Path, name: str) -> Staged:
    """A staged file of this name; one left by a broken attempt with the same token is replaced."""
    path = folder / name
    path.unlink(missing_ok=True)
    return Staged(path, settings.form, settings.delimiter)
