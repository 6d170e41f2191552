"""``dataflare state reset --to-epoch N``: a kept older epoch is taken, deliberately, as the next one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflare.checkpoint import Changes, Checkpoint, StateChange
from dataflare.errors import ConfigError, StateError
from dataflare_state import dump as dumps
from dataflare_state.layered import Layered
from dataflare_state.opening import Kept, leased
from dataflare_state.whole import Whole, changed

Json = Any


def go_back(kept: Kept, epoch: int, region: str | None) -> Json:
    """Take a kept epoch of a region (None: of the one that has it) as its next one; the guarantee says so from then on.

    Keyed state is kept as it is now, so a region with keyed state can only go back where the store still has the
    keys of that epoch (under layers it has). Raises StateError ``state.keys_not_kept``.
    """
    store, flow = kept.store, kept.flow
    have = [name for name in kept.regions() if epoch in {info.epoch for info in store.history(flow, name)}]
    chosen = [name for name in have if region in (None, name)]
    if len(chosen) != 1:
        where = f" in the region `{region}`" if region else ""
        several = f"epoch {epoch} is kept in several regions, each of which counts its own: {', '.join(chosen)}"
        raise ConfigError.of(
            "state.unknown_epoch",
            several if chosen else f"epoch {epoch} of `{flow}` is not kept{where}",
            fix="name one of them: `--region`" if chosen else "see `history` in `dataflare state inspect`",
        )
    with leased(kept, chosen[0]) as token:
        old = store.load(flow, chosen[0], epoch)
        assert old is not None
        made, state = _prepared(kept, old)
        told: dict[str, Json] = {"region": made.region, "epoch": made.epoch, "guarantee": made.guarantee}
        try:
            store.commit(made, Changes(state), token)
        except StateError as error:
            if error.code != "state.corrupt":
                raise
            told["rescued"] = str(_replaced(kept, made, state, token))
        return told


def _prepared(kept: Kept, old: Checkpoint) -> tuple[Checkpoint, list[StateChange]]:
    """The next epoch with the content of an older one, and what its keyed state changes."""
    last = max(info.epoch for info in kept.store.history(kept.flow, old.region))
    note = f"taken back to {old.epoch} at {last + 1}"
    made = replace(old, epoch=last + 1, moved="", committed_at="", guarantee=[*old.guarantee, note])
    if old.epoch == last:
        return made, []
    # Later epochs were decided on top of it, so its own commit was carried out.
    return replace(made, tokens={}, settled=True), _keys(kept, old) if old.keyed else []


def _keys(kept: Kept, old: Checkpoint) -> list[StateChange]:
    store, flow, region = kept.store, kept.flow, old.region
    if not isinstance(store, Layered):
        raise StateError.of(
            "state.keys_not_kept",
            f"`{flow}` cannot go back to epoch {old.epoch}: {', '.join(old.keyed)} keep state by key",
            kind="config",
            cause="the store keeps keys as they are now, not as they were in each epoch",
            fix="bring a backup of the store back, or begin anew with `dataflare state reset`",
        )
    state = []
    for step, name in store.states(flow, region, old.epoch):
        then = {key: (value, expires) for key, value, expires in store.state(flow, region, step, name, old.epoch)}
        state += [changed(step, name, key, *rest) for key, rest in then.items()]
        try:
            now = [key for key, _, _ in store.state(flow, region, step, name)]
        except StateError:
            now = []  # the last epoch is damaged: its keys go with it
        state += [changed(step, name, key, b"", None)._replace(value=None) for key in now if key not in then]
    return state


def _replaced(kept: Kept, made: Checkpoint, state: list[StateChange], token: int) -> Path:
    """Put the epoch in the place of a region that is too damaged to add to. What is put there is in a folder first."""
    live = [change for change in state if change.value is not None]
    folder = kept.base / ".dataflare" / f"rescued-{kept.flow}-{made.epoch}"
    whole = Whole(made, token, live)
    dumps.write(folder, dumps.Dump(kept.flow, {made.region: whole}))
    kept.store.reset(kept.flow, made.region, token)
    whole.put(kept.store, token)
    return folder
