"""What can go wrong with a store, in the words of its users."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataflare.checkpoint import Checkpoint
from dataflare.errors import Fenced, StateError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def fenced(flow: str, region: str, fence: int, newest: int) -> Fenced:
    """A newer owner holds the lease."""
    return Fenced.of(
        "state.fenced",
        f"token {fence} is not the newest of `{flow}` (region `{region}`): that is {newest}",
        cause="another runner has taken this flow over",
        fix="let this one end; the newer one goes on from the last committed epoch",
    )


def out_of_order(checkpoint: Checkpoint, last: int) -> StateError:
    """An epoch that is not above the last one."""
    return StateError.of(
        "state.epoch_order",
        f"epoch {checkpoint.epoch} of `{checkpoint.flow}` cannot be committed: epoch {last} already is",
        fix="load the last checkpoint and go on from it",
    )


def other_incarnation(checkpoint: Checkpoint, held: str) -> StateError:
    """A commit for another life of the flow's state than the one that is kept."""
    return StateError.of(
        "state.incarnation",
        f"`{checkpoint.flow}` (region `{checkpoint.region}`) holds the state of incarnation {held}, "
        f"and epoch {checkpoint.epoch} belongs to {checkpoint.incarnation}",
        fix="reset the state before a new incarnation begins",
    )


def corrupt(flow: str, region: str, what: str, intact: int | None, **details: object) -> StateError:
    """Damage found while reading; ``intact`` is the newest epoch that is whole. Nobody goes back to it unasked."""
    if intact is None:
        fix = f"bring the store back from a backup, or begin anew: `dataflare state reset {flow}`"
    else:
        fix = (
            f"bring the store back from a backup; epoch {intact} is the newest that is intact: "
            f"look with `dataflare state inspect FLOW --epoch {intact}`, go back to it with `--to-epoch {intact}` of "
            "`dataflare state reset`"
        )
    return StateError.of(
        "state.corrupt",
        f"the state of `{flow}` (region `{region}`) is damaged: {what}",
        cause="its content does not match the digest that was written with it",
        fix=fix,
        details={"intact_epoch": intact, **details},
    )


def unsettled(flow: str, epoch: int) -> StateError:
    """An epoch that the sinks may not have committed yet."""
    return StateError.of(
        "state.unsettled",
        f"epoch {epoch} of `{flow}` is decided, and its sinks have not all committed it",
        fix="run the flow: it does that first; then try again",
    )


def other_layers(flow: str, held: list[str], given: list[str]) -> StateError:
    """State that went through other layers than those it is opened with."""
    was = f"through the layers {', '.join(f'`{name}`' for name in held)}" if held else "without layers"
    now = f"with {', '.join(f'`{name}`' for name in given)}" if given else "without layers"
    return StateError.of(
        "state.layers",
        f"the state of `{flow}` was written {was}, and is opened {now}",
        cause="the flow's `layers` are others, or in another order, than when it ran last",
        fix="give the flow its old `layers` back; to change them, copy the state: `dataflare state copy`",
        details={"held": held, "given": given},
    )


def newer_checkpoint(flow: str, error: ValueError) -> StateError:
    """A checkpoint that a newer version wrote."""
    return StateError.of(
        "state.newer_format",
        f"the last checkpoint of `{flow}` cannot be read: {error}",
        fix="run the flow with the version of DataFlare that wrote it, or a newer one",
    )


def newer_store(path: Path | str, found: object, known: int) -> StateError:
    """A store whose layout is of a newer version."""
    return StateError.of(
        "state.newer_schema",
        f"{path} has layout {found}; this version knows up to {known}",
        fix="upgrade dataflare-state, or choose another path for the store",
    )


def foreign(path: Path | str, cause: str) -> StateError:
    """Something that is not ours lies at the path."""
    return StateError.of(
        "state.not_a_store",
        f"{path} is not a state store",
        cause=cause,
        fix="choose another `path` for the store, or move that file away",
    )


def disk_full(path: Path | str, cause: str) -> StateError:
    """No room; what was committed before still holds."""
    return StateError.of(
        "state.disk_full",
        f"no room left to write {path}",
        cause=cause,
        fix="free some space and run the flow again: it goes on from the last committed epoch",
    )


def unwritable(path: Path | str, cause: str) -> StateError:
    """The folder or the file may not be written."""
    return StateError.of(
        "state.unwritable",
        f"{path} cannot be written",
        cause=cause,
        fix="give this user the right to write there, or choose another `path` for the store",
    )


def unreadable(path: Path | str, cause: str) -> StateError:
    """The store cannot be opened or read."""
    return StateError.of(
        "state.unreadable",
        f"{path} cannot be read or written",
        cause=cause,
        fix="look after the file system there, or choose another `path` for the store",
    )


def held(place: str, cause: str) -> StateError:
    """Another session holds what this one needs."""
    return StateError.of(
        "state.locked",
        f"{place} is locked by another session",
        cause=cause,
        fix="wait until the other session has ended, or end it (`pg_stat_activity` shows it); then run again",
    )


def too_slow(place: str, cause: str) -> StateError:
    """The server was asked to give up a statement that took too long."""
    return StateError.of(
        "state.timeout",
        f"{place} did not answer in time",
        cause=cause,
        fix="see what keeps the server busy, or raise `statement_timeout`; the flow goes on from its last epoch",
    )


def unreachable(place: str, cause: str) -> StateError:
    """No connection to the server, or not any more."""
    return StateError.of(
        "state.unreachable",
        f"{place} cannot be reached",
        cause=cause,
        fix="see whether the server runs and lets this user in; then run again: the flow goes on from its last epoch",
    )


def refused(place: str, cause: str) -> StateError:
    """The server did not do what it was asked for."""
    return StateError.of(
        "state.unreadable",
        f"{place} cannot be read or written",
        cause=cause,
        fix="see the server's log; if the tables were changed by hand, bring them back from a backup",
    )


def damaged(place: Path | str, cause: str) -> StateError:
    """The database itself is damaged."""
    return StateError.of(
        "state.corrupt",
        f"{place} is damaged",
        cause=cause,
        fix="bring it back from a backup, or move it away to begin anew",
    )


def of_os(path: Path | str, error: OSError) -> StateError:
    """What the operating system refused."""
    cause = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
    if error.errno in FULL:
        return disk_full(path, cause)
    return unwritable(path, cause) if error.errno in REFUSED else unreadable(path, cause)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns OSError into a StateError that names the store."""
    try:
        yield
    except OSError as error:
        raise of_os(path, error) from error
