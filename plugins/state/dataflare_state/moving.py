"""``dataflare state export | import | copy``: a flow's state to files, from files, into another store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflare import command, field
from dataflare.checkpoint import Changes
from dataflare.errors import ConfigError, StateError
from dataflare_state import dump as dumps
from dataflare_state.opening import Kept, kept_at, kept_of, leased
from dataflare_state.whole import Whole, whole_of

Json = Any


@command(group="state", name="state.export")
def export(host: Any, flow: Path, *, to: Path = field(help="A folder that is not there yet.")) -> Json:
    """Write positions, keyed state and dead letters to files that can be read: JSON and Arrow, with digests."""
    with kept_of(host, flow) as kept, _held(kept):
        dump = dumps.Dump(kept.flow, _wholes(kept))
        _expect_some(kept, dump.regions)
        files = host.change("state.export", kept.flow, lambda: dumps.write(to, dump), {"to": str(to)})
        return {"flow": kept.flow, "to": str(to), **_told(dump.regions), "files": sorted([dumps.MANIFEST, *files])}


@command(group="state", name="state.import")
def import_(
    host: Any,
    flow: Path,
    *,
    from_: Path = field(help="A folder that `dataflare state export` wrote."),
    replace: bool = field(default=False, help="Forget what the store holds of the flow."),
) -> Json:
    """Restore a flow from exported files, in this store: it goes on where it stood, and its sinks with it."""
    dump = dumps.read(from_)
    with kept_of(host, flow) as kept:
        if dump.flow != kept.flow:
            raise ConfigError.of(
                "state.other_flow",
                f"{from_} holds the state of `{dump.flow}`, and this flow is `{kept.flow}`",
                fix="the name of a flow is part of what its sinks have written: keep it",
            )
        work = host.change(
            "state.import", kept.flow, lambda: _restore(kept, dump.regions, replace), {"from": str(from_)}
        )
        return {"flow": kept.flow, "from": str(from_), **work}


@command(group="state", name="state.copy")
def copy(
    host: Any,
    flow: Path,
    *,
    to: str = field(help="The other store, as under `state:` in a flow: '{uses: …, with: …, layers: …}'."),
    replace: bool = field(default=False, help="Forget what the other store holds of the flow."),
    backup: bool = field(default=False, help="The flow goes on in its own store: the copy is only kept."),
) -> Json:
    """Copy positions, keyed state and dead letters into another store; the flow then goes on there."""
    with kept_of(host, flow) as kept, kept_at(host, flow, _mapping(to)) as other, _held(kept) as tokens:
        wholes = _wholes(kept)
        _expect_some(kept, wholes)
        _expect_another(kept, other)

        def work() -> Json:
            kept_there = {name: _moved(whole, kept.told) for name, whole in wholes.items()} if backup else wholes
            done = _restore(other, kept_there, replace)
            for region, whole in wholes.items() if not backup else ():
                kept.store.commit(_moved(whole, other.told).checkpoint, Changes(), tokens[region])
            return {"flow": kept.flow, "to": other.told, "backup": backup, **done}

        return host.change("state.copy", kept.flow, work, {"to": other.told, "backup": backup})


@contextmanager
def _held(kept: Kept) -> Iterator[dict[str, int]]:
    """The leases of all regions, so that nobody writes; by region."""
    with ExitStack() as leases:
        yield {region: leases.enter_context(leased(kept, region)) for region in kept.regions()}


def _wholes(kept: Kept) -> dict[str, Whole]:
    found = {region: whole_of(kept.store, kept.flow, region) for region in kept.regions()}
    return {region: whole for region, whole in found.items() if whole is not None}


def _restore(kept: Kept, wholes: dict[str, Whole], replacing: bool) -> Json:
    """Put regions into a store under leases of its own, whose tokens are above all that the flow's sinks have seen."""
    held = [region for region in kept.regions() if kept.store.history(kept.flow, region)]
    if held and not replacing:
        raise ConfigError.of(
            "state.exists",
            f"the store holds state of `{kept.flow}` already",
            cause=f"regions: {', '.join(held)}",
            fix="add `--replace` to forget it, or name another store",
        )
    left: list[tuple[str, int]] = []
    with ExitStack() as leases:
        above = {region: whole.token for region, whole in wholes.items()}
        names = [*wholes, *(region for region in held if region not in wholes)]
        tokens = {name: leases.enter_context(leased(kept, name, above=above.get(name, 0))) for name in names}
        for region in held:
            kept.store.reset(kept.flow, region, tokens[region])
        with suppress(StateError):  # what cannot be read stays: it is no longer waiting, so nothing replays it
            left = [(letter.region, letter.id) for letter in kept.store.letters(kept.flow, status=None)]
        for region, whole in wholes.items():
            whole.put(kept.store, tokens[region], [number for of, number in left if of == region])
    return {**_told(wholes), "tokens": tokens}


def _moved(whole: Whole, to: str) -> Whole:
    """The same with a mark that the flow goes on elsewhere: in an epoch of its own."""
    made = replace(whole.checkpoint, epoch=whole.checkpoint.epoch + 1, moved=to, committed_at="")
    return replace(whole, checkpoint=made)


def _told(wholes: dict[str, Whole]) -> Json:
    return {
        "epochs": {region: whole.checkpoint.epoch for region, whole in wholes.items()},
        "keys": sum(len(whole.state) for whole in wholes.values()),
        "letters": sum(len(whole.letters) for whole in wholes.values()),
    }


def _expect_some(kept: Kept, wholes: dict[str, Whole]) -> None:
    if not wholes:
        raise StateError.of(
            "state.nothing_kept",
            f"the store holds no state of `{kept.flow}`",
            kind="config",
            fix="run the flow first; look with `dataflare state inspect`",
        )


def _expect_another(kept: Kept, other: Kept) -> None:
    """The other store must not be the same one: its leases are then those that this command has just taken."""
    for region in kept.regions():
        here, there = (store.lease_info(kept.flow, region) for store in (kept.store, other.store))
        if here and there and not there.released and (here.token, here.owner) == (there.token, there.owner):
            raise ConfigError.of(
                "state.same_store",
                f"{other.told} is the store that the flow has",
                fix="name another store or another place; `dataflare state migrate` rewrites state where it is",
            )


def _mapping(text: str) -> dict[str, Any]:
    """A store as it is written in a flow. Raises ConfigError ``state.store``."""
    import yaml

    value: Any = None
    cause: str | None = None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        cause = str(error)
    value = {"uses": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or "uses" not in value or set(value) - {"uses", "with", "layers"}:
        fix = "write it as under `state:` in a flow, such as '{uses: state/file, with: {path: state}}'"
        raise ConfigError.of("state.store", f"`{text}` does not name a store", cause=cause, fix=fix)
    return value
