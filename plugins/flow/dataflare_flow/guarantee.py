"""What a flow promises: a pure function of what its sources, steps, sinks, store and mode declare.

Each source-to-sink path has three bits: it may *lose* rows, it may *double* them (or leave ghosts), replays may be
*visible* for a moment. None: ``exactly_once``; visible: ``effectively_once``; doubles: ``at_least_once``; loses:
``at_most_once``; both: ``best_effort``. A flow is the or of its paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dataflare.errors import Problem
from dataflare_flow.document import child
from dataflare_host.plan import Edge, Guarantee, PathGuarantee, StepPlan

Replay = Literal["position", "redelivery+ids", "redelivery", "none"]
Repeat = Literal["same", "values", "rows"]
"""What comes out when the same input passes again: the same, other values in the same rows, other rows or keys."""

_ALLOWED: Mapping[str, str] = {
    "exactly_once": "",
    "effectively_once": "V",
    "at_least_once": "DV",
    "at_most_once": "LV",
    "best_effort": "LDV",
}


@dataclass(frozen=True)
class Reason:
    """Why a path has bits (letters of ``LDV``), and what would take them away."""

    bits: str
    text: str
    fix: str


@dataclass(frozen=True)
class Path:
    """What decides about one source and one sink, all ways between them taken together."""

    source: str
    sink: str
    steps: tuple[str, ...] = ()
    replay: Replay = "position"
    drops: bool = False
    repeat: Repeat = "same"
    unsteady: tuple[str, ...] = ()
    """The steps that make ``repeat`` what it is."""
    remembers: bool = False
    """A keyed step or one with a snapshot lies on the way."""
    ability: str = "transactional"
    fencing: str = "target"
    on_commit: bool = False
    durable: bool = True
    takeover: str = "never"
    shared: str = "any"
    """Who reaches the store: ``process``, ``host`` or ``any``."""

    @property
    def strong(self) -> bool:
        """Does the sink publish an epoch once, whatever is repeated?

        A spool delivers the same rows again where a delivery was cut off; a sink that only appends has them twice.
        """
        return self.ability in ("transactional", "staged") or (self.on_commit and self.ability != "append")


def level_of(bits: Iterable[str]) -> str:
    """The guarantee that these bits (letters of ``LDV``) leave."""
    found = set(bits)
    if "L" in found:
        return "best_effort" if "D" in found else "at_most_once"
    if "D" in found:
        return "at_least_once"
    return "effectively_once" if "V" in found else "exactly_once"


def meets(bits: Iterable[str], wanted: str) -> bool:
    """Are these bits all allowed by the guarantee that is wanted?"""
    return set(bits) <= set(_ALLOWED[wanted])


def weakest(levels: Iterable[str]) -> str:
    """The or of several guarantees."""
    return level_of("".join(_ALLOWED[level] for level in levels))


def judge(path: Path) -> list[Reason]:
    """All that keeps a path from ``exactly_once``; empty if nothing does."""
    return [*_by_source(path), *_by_sink(path), *_by_surroundings(path)]


def _by_source(path: Path) -> list[Reason]:
    found = []
    if path.replay == "none":
        text = f"`{path.source}` cannot be read again: rows in flight are lost in a crash"
        found.append(Reason("L", text, "use a source that replays"))
    elif path.replay == "redelivery":
        text = f"`{path.source}` delivers again without stable ids: repeated rows are not known as such"
        found.append(Reason("D", text, "use a source with positions or stable ids"))
    if path.drops:
        text = f"`{path.source}` drops its oldest rows when it cannot keep up"
        found.append(Reason("L", text, "set its overflow to block or spill"))
    return found


def _by_sink(path: Path) -> list[Reason]:
    if path.strong:
        return []
    if path.ability == "append":
        what = "a delivery that is cut off" if path.on_commit else "an epoch that is repeated"
        text = f"`{path.sink}` appends: the rows of {what} come twice"
        return [Reason("D", text, "use a transactional, staged or idempotent sink")]
    better = "set `deliver: on_commit`, or use a transactional or staged sink"
    if path.replay in ("none", "redelivery"):
        return []
    if path.repeat == "rows":
        steps = " and ".join(f"`{name}`" for name in path.unsteady)
        text = f"`{path.sink}` overwrites by key, and {steps} may give other rows or keys when repeated: ghosts stay"
        return [Reason("D", text, better)]
    return [Reason("V", f"`{path.sink}` overwrites by key: a repeated epoch shows for a moment", better)]


def _by_surroundings(path: Path) -> list[Reason]:
    found = []
    lost = path.replay.startswith("redelivery") and path.remembers
    bits = "LD" if lost else "D"
    again = "the flow begins again" + (", without the state of its steps" if lost else "")
    if not path.durable:
        found.append(Reason(bits, f"the state store does not survive a crash: {again}", "use a durable state store"))
    elif path.takeover == "any" and path.shared != "any":
        text = f"the state store does not reach other machines, where {again} after a takeover"
        found.append(Reason(bits, text, "use a store that every machine reaches, or a mode without takeover"))
    fencing = "names" if path.on_commit else path.fencing
    if fencing == "none" and path.takeover != "never":
        text = f"`{path.sink}` cannot keep out a runner that was taken over while it was frozen"
        found.append(Reason("D", text, "use a sink with fencing, or a mode without takeover"))
    elif fencing == "lock" and path.takeover == "any":
        text = f"the lock of `{path.sink}` does not reach other machines, where the flow may be taken over"
        found.append(Reason("D", text, "use a sink with fencing by target or names, or a mode without takeover"))
    return found


def promise(path: Path, reasons: Sequence[Reason]) -> PathGuarantee:
    """A path's bits, level and reasons as the plan holds them."""
    bits = "".join(reason.bits for reason in reasons)
    return PathGuarantee(
        path.source,
        path.sink,
        path.steps,
        loses="L" in bits,
        doubles="D" in bits,
        visible="V" in bits,
        effective=level_of(bits),
        reasons=tuple(reason.text for reason in reasons),
    )


# --- of a whole plan ----------------------------------------------------------------------------------


def guarantee_of(
    steps: Mapping[str, StepPlan],
    edges: Sequence[Edge],
    store: Mapping[str, Any],
    mode: Mapping[str, Any],
    *,
    wanted: str | None = None,
    sinks_wanted: Mapping[str, str] = {},
    on_commit: Iterable[str] = (),
) -> tuple[Guarantee, list[Problem]]:
    """The guarantee of planned steps, and a problem (``plan.guarantee``) for each path that gives less than is wanted.

    ``store`` and ``mode`` are declared abilities. Sinks behind a nondeterministic path are put on ``on_commit``
    where that gives what is wanted, with a note.
    """
    paths = paths_of(steps, edges, store, mode, frozenset(on_commit))
    notes = [*_notes(steps)]
    switched: dict[str, None] = dict.fromkeys(on_commit)
    for path in paths:
        need = _wanted(path.sink, wanted, sinks_wanted)
        if need is not None and path.sink not in switched and _helped_by_spool(path, need):
            switched[path.sink] = None
            who = " and ".join(f"`{name}`" for name in path.unsteady)
            notes.append(f"`{path.sink}` delivers on commit: {need} is wanted, and {who} is not deterministic")
    paths = [_behind_spool(path) if path.sink in switched else path for path in paths]
    judged = [(path, judge(path)) for path in paths]
    promises = tuple(promise(path, reasons) for path, reasons in judged)
    problems = []
    for path, reasons in judged:
        need = _wanted(path.sink, wanted, sinks_wanted)
        if need is not None and not meets("".join(reason.bits for reason in reasons), need):
            pointer = child(child("/sinks", path.sink), "guarantee") if path.sink in sinks_wanted else "/guarantee"
            problems.append(_refusal(path, reasons, need, pointer, edges))
    effective = weakest(each.effective for each in promises)
    return Guarantee(effective, promises, wanted, tuple(notes), tuple(switched)), problems


def paths_of(
    steps: Mapping[str, StepPlan],
    edges: Sequence[Edge],
    store: Mapping[str, Any],
    mode: Mapping[str, Any],
    on_commit: frozenset[str] = frozenset(),
) -> list[Path]:
    """One Path for each source and each sink that it reaches, in the order of the plan."""
    after = {name: {edge.target for edge in edges if edge.source == name} for name in steps}
    before = {name: {edge.source for edge in edges if edge.target == name} for name in steps}
    reached = {name: _closure(name, after) for name in steps}
    found = []
    for source in (step for step in steps.values() if step.kind == "source"):
        for sink in (step for step in steps.values() if step.kind == "sink" and step.name in reached[source.name]):
            between = reached[source.name] & _closure(sink.name, before)
            way = [step for name, step in steps.items() if name in between]
            found.append(_path(source, way, sink, store, mode, sink.name in on_commit))
    return found


def _path(
    source: StepPlan,
    way: list[StepPlan],
    sink: StepPlan,
    store: Mapping[str, Any],
    mode: Mapping[str, Any],
    on_commit: bool,
) -> Path:
    repeats = {step.name: _repeat(step, sink) for step in [source, *way]}
    repeat: Repeat = "same"
    for kind in ("values", "rows"):
        repeat = kind if kind in repeats.values() else repeat
    replay: Replay = source.abilities.get("replay") or "none"
    if replay == "redelivery" and source.abilities.get("stable_ids"):
        replay = "redelivery+ids"
    return Path(
        source.name,
        sink.name,
        tuple(step.name for step in way),
        replay=replay,
        drops="drop_oldest" in (source.abilities.get("overflow"), source.config.get("overflow")),
        repeat=repeat,
        unsteady=tuple(name for name, kind in repeats.items() if kind == repeat != "same"),
        remembers=any(step.keyed or step.abilities.get("stateful") for step in way),
        ability=sink.abilities.get("ability", "append"),
        fencing=sink.abilities.get("fencing", "none"),
        on_commit=on_commit,
        durable=bool(store.get("durable", True)),
        takeover=str(mode.get("takeover", "host")),
        shared=str(store.get("shared", "host")),
    )


def _repeat(step: StepPlan, sink: StepPlan) -> Repeat:
    if step.abilities.get("deterministic", True):
        return "same"
    key, writes = sink.config.get("key"), step.abilities.get("writes")
    keys = {key} if isinstance(key, str) else set(key or ())
    untouched = bool(keys) and writes is not None and not keys & set(writes)
    return "values" if step.abilities.get("cardinality") == "one" and untouched else "rows"


def _closure(start: str, next_of: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(next_of[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += next_of[name]
    return found


def _behind_spool(path: Path) -> Path:
    return replace(path, on_commit=True)


def _helped_by_spool(path: Path, wanted: str) -> bool:
    unsteady = path.repeat != "same" and not path.strong
    return unsteady and not _meets(path, wanted) and _meets(_behind_spool(path), wanted)


def _meets(path: Path, wanted: str) -> bool:
    return meets("".join(reason.bits for reason in judge(path)), wanted)


def _wanted(sink: str, flow: str | None, sinks: Mapping[str, str]) -> str | None:
    return sinks.get(sink, flow)


def _notes(steps: Mapping[str, StepPlan]) -> Iterable[str]:
    for step in steps.values():
        if "drop" in (step.on_error.get("policy"), step.on_error.get("then")):
            yield f"`{step.name}` drops the rows that it refuses (`on_error`): they are counted, not kept"
        if step.kind == "processor" and step.abilities.get("effects") == "writes":
            yield f"`{step.name}` has effects of its own: these happen at least once, whatever the rows do"


def _refusal(path: Path, reasons: Sequence[Reason], wanted: str, pointer: str, edges: Sequence[Edge]) -> Problem:
    into = next(edge for edge in edges if edge.target == path.sink and edge.source in (path.source, *path.steps))
    guilty = [reason for reason in reasons if not meets(reason.bits, wanted)] or list(reasons)
    level = level_of("".join(reason.bits for reason in reasons))
    way = " → ".join([path.source, *path.steps, path.sink])
    return Problem(
        "plan.guarantee",
        f"`{wanted}` is wanted, but {way} (edge `{into.id}`) gives `{level}`",
        pointer=pointer,
        cause="; ".join(reason.text for reason in guilty),
        fix="; ".join(dict.fromkeys(reason.fix for reason in guilty)) + f"; or ask for `{level}`",
        details={"edge": into.id, "source": path.source, "sink": path.sink, "effective": level},
    )
