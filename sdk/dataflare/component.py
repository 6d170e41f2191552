"""The bases of everything a plugin contributes: Component and its kinds.

A class states its abilities as class keywords, with the words of the decorators
(``class Files(Sink, ability="staged")``), its configuration as annotated attributes, and each
operation asks by name for what the engine passes: write those wanted, leave out the others. Any
operation may be ``async``. An instance is one lane: from ``open`` to ``close`` one thread, one call at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from dataflare.split import Json

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.errors import Problem
    from dataflare.schema import Schema

P = TypeVar("P")
"""The type of a source's position: anything that pydantic turns into JSON and back."""
T = TypeVar("T")
"""The type of a sink's token, likewise; at most 64 KiB as JSON."""
S = TypeVar("S")

PASSED = frozenset(
    "ctx resume split position finished columns demand batch row rows key keys state schema schemas time "
    "span epoch last token tokens data version old made before stream file batches value".split()
)
"""The closed list of names that the engine passes; all else is configuration and stands after the ``*``."""


@dataclass(frozen=True)
class Spec:
    """What a component says of itself: its kind, names, summary and declared abilities."""

    kind: str
    name: str
    summary: str = ""
    doc: str = ""
    aliases: tuple[str, ...] = ()
    deprecated: str | None = None
    version: int = 1
    lanes: int | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, ability: str) -> Any:
        return self.declared[ability]

    def get(self, ability: str, default: Any = None) -> Any:
        """A declared ability, or ``default``."""
        return self.declared.get(ability, default)


class Component:
    """Base of every kind. ``abilities`` lists the class keywords of the kind with their defaults.

    A third party makes a new kind by subclassing Component with ``kind="name"`` and naming that base
    under ``[kinds]`` of its manifest. An instance is made from configuration: ``Files(path="a.csv")``
    validates and sets the attributes.
    """

    kind: ClassVar[str] = ""
    abilities: ClassVar[Mapping[str, Any]] = {}
    spec: ClassVar[Spec]
    remote: ClassVar[bool] = False
    """Whether a guest answers its operations (``dataflare.hosting``): then its code can be replaced."""

    def __init_subclass__(cls, **declared: Any) -> None:
        kind, abilities = declared.pop("kind", None), declared.pop("abilities", None)
        super().__init_subclass__()
        from dataflare.declare import base_of_kind, spec_of_class

        if kind is not None:
            base_of_kind(cls, kind, abilities or {})
        elif cls.kind:
            cls.spec = spec_of_class(cls, declared)

    def __init__(self, **config: Any) -> None:
        from dataflare.config import configure

        configure(self, config)

    def check(self, *args: Any, **kwargs: Any) -> Iterable[Problem]:
        """Can it work with this configuration? ``(ctx)`` → problems, each with pointer and fix. Changes nothing."""
        return ()

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Get ready. ``(ctx, resume)``."""

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Let go of everything; called once after open, also after a failure."""

    def abandon(self) -> None:
        """Let the call that runs now fail soon, from another thread, where that can be done; nothing otherwise."""

    def on_created(self, *args: Any, **kwargs: Any) -> Json:
        """Make what is made once (a slot, a table). ``(ctx)`` → what was made.

        Idempotent; the answer is committed before the first read.
        """
        return None

    def on_updated(self, *args: Any, **kwargs: Any) -> Json:
        """The configuration changed. ``(ctx, made, before)`` → what is made now."""
        return kwargs.get("made")

    def on_deleted(self, *args: Any, **kwargs: Any) -> None:
        """Undo ``on_created``. ``(ctx, made)``."""


class Source(
    Component,
    Generic[P],
    kind="source",
    abilities={
        "replay": None,  # position | redelivery | none; None: position where positions are given
        "rows": None,
        "ack_gated": False,
        "acknowledge_within": None,
        "stable_ids": False,
        "max_in_flight": None,
        "effects": "none",
        "deterministic": True,
    },
):
    """Reads splits and hands out positions. Subclass it, or decorate a generator with ``@source``."""

    def discover(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """``(ctx)`` → the streams that could be read."""
        return ()

    def plan(self, *args: Any, **kwargs: Any) -> Any:
        """``()`` → the schema of the rows, a dict of stream to schema, or None if only reading tells."""
        return None

    def splits(self, *args: Any, **kwargs: Any) -> Any:
        """``(position, finished, ctx)`` → the splits not covered yet (the committed list wins).

        Or an iterator of ``(splits, position)`` where new ones appear while the flow runs.
        """
        from dataflare.split import Split

        return (Split("all"),)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """``(split, position, demand, columns, schema, ctx)`` → yields rows, ``(rows, position)`` or ``Idle``.

        Return: the split ends. ``position`` is passed only where there is one, so the parameter's default is the start.
        ``columns``: the only ones that anybody downstream reads, or None for all. ``schema``: what was planned or None.
        """
        raise NotImplementedError

    def divide(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """``(split, position)`` → children that take over the rest of the split, or nothing."""
        return ()

    def acknowledge(self, *args: Any, **kwargs: Any) -> None:
        """``(split, position, ctx)``: everything up to here is durable downstream. May be repeated after a restart."""

    def migrate_position(self, version: int, old: Json) -> P:
        """An older version's position in today's form."""
        raise NotImplementedError

    def migrate_positions(self, version: int, olds: list[Json]) -> list[P]:
        """``migrate_position`` of many, in their order."""
        return [self.migrate_position(version, old) for old in olds]


class Processor(
    Component,
    kind="processor",
    abilities={
        "each": "batch",  # batch | row
        "by": None,  # the config field that names the key columns: state is per key
        "outputs": (),
        "adds": None,
        "size": None,
        "in_flight": 1,
        "ordered": True,
        "deterministic": True,
        "effects": "none",  # none | reads | writes
        "cardinality": "any",  # one | filter | any
        "reads": None,
        "writes": None,
        "clears": (),
        "inputs": None,  # None: one input (several are unioned); a tuple of names: named inputs
    },
):
    """Transforms batches. Stateless ones may be fused, split and run in parallel."""

    def plan(self, *args: Any, **kwargs: Any) -> Any:
        """``(schema)`` → the schema of the output, or a dict of output to schema. Raises ConfigError to refuse."""
        return None

    def needs(self, columns: frozenset[str] | None, schema: Schema) -> frozenset[str] | None:
        """The input columns needed so that these output columns can be given; None: all of them."""
        return None

    def fuse(self, after: Processor) -> Processor | None:
        """One processor that does this one's work and then that of ``after``, or None. Both are stateless."""
        return None

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch, ctx)`` → rows, ``Out`` for a named output, an iterator of these, or None."""
        raise NotImplementedError

    def timer(self, *args: Any, **kwargs: Any) -> Any:
        """``(keys, time, ctx)`` → like process, for keys whose timer (``ctx.timers.set``) is due."""
        return None

    def watermark(self, *args: Any, **kwargs: Any) -> Any:
        """``(time, ctx)`` → like process; no earlier event time will come, late rows aside."""
        return None

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        """``(ctx)`` → like process, once, at the end of input."""
        return None

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """``(epoch, ctx)``: an epoch ends. What changed in memory only goes into ``State`` now."""

    def snapshot(self, *args: Any, **kwargs: Any) -> bytes | None:
        """``()`` → what ``State`` does not hold, at most 16 MiB; such a component runs in one lane."""
        return None

    def restore(self, *args: Any, **kwargs: Any) -> None:
        """``(data, version)``: continue from a snapshot."""

    def migrate_state(self, version: int, name: str, value: Json) -> Json:
        """An older version's value of the state ``name`` in today's form."""
        raise NotImplementedError

    def migrate_states(self, version: int, name: str, values: list[Json]) -> list[Json]:
        """``migrate_state`` of many values, in their order."""
        return [self.migrate_state(version, name, value) for value in values]


class Sink(
    Component,
    Generic[T],
    kind="sink",
    abilities={
        "ability": "append",  # transactional | staged | idempotent | append
        "each": "batch",
        "roll": None,
        "fencing": "none",  # target | names | lock | none
        "commits": "step",  # step | lane
        "clears": (),
        "shared": "files",  # where its target lives: process | host | files | network
    },
):
    """Takes epochs: ``begin``, ``write`` …, ``prepare``, and after the commit point ``commit``."""

    def plan(self, *args: Any, **kwargs: Any) -> None:
        """``(schema)``: raises ConfigError if these columns cannot be taken."""

    def needs(self, schema: Schema) -> frozenset[str] | None:
        """The columns it reads; None: all of them."""
        return None

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """``(epoch, ctx)``: what follows belongs to this epoch and stays invisible until decided."""

    def write(self, *args: Any, **kwargs: Any) -> Any:
        """``(batch, ctx)``; may reject rows."""
        raise NotImplementedError

    def prepare(self, *args: Any, **kwargs: Any) -> Any:
        """``(epoch, last, ctx)`` → a token. What was written is durable now; constraints and rights are checked."""
        return None

    def commit(self, *args: Any, **kwargs: Any) -> None:
        """``(epoch, tokens, ctx)``: publish. Repeatable, on any open instance; knows only what the tokens say."""

    def abort(self, *args: Any, **kwargs: Any) -> None:
        """``(epoch, tokens, ctx)``: undo what was prepared or staged."""

    def recover(self, *args: Any, **kwargs: Any) -> int | None:
        """``(ctx)`` → the last epoch that the target itself holds, if it holds one."""
        return None

    def readback(self, stream: str) -> Iterator[Any]:
        """The rows in the target, for conformance tests and audits."""
        raise NotImplementedError

    def snapshot(self, *args: Any, **kwargs: Any) -> bytes | None:
        """``()`` → what the sink must remember from epoch to epoch."""
        return None

    def restore(self, *args: Any, **kwargs: Any) -> None:
        """``(data, version)``: continue from a snapshot."""


class Tool(Component, kind="tool", abilities={"effects": "none"}):
    """A typed call: CLI, REST API and MCP get it by themselves."""

    def call(self, *args: Any, **given: Any) -> Any:
        """The work; a generator gives progress, and its last value is the answer."""
        raise NotImplementedError


class Command(Component, kind="command", abilities={"group": None}):
    """A command of the CLI: ``dataflare [group] NAME``.

    Of what stands before the ``*`` of ``call``, lists and what has no default are arguments; the rest, and the
    configuration, are options.
    """

    line: ClassVar[Any] = None
    """A ``click.Command`` in place of those and of ``call``, for what they cannot say."""

    def call(self, *args: Any, **given: Any) -> Any:
        """``(host, …)`` → a JSON answer. One with ``"ok": false`` makes the exit code 1."""
        raise NotImplementedError

    def show(self, answer: Json) -> str | None:
        """The answer for people, where there is no ``--json``: the text for stdout; None: shown by its shape."""
        return None


class Codec(Component, kind="codec", abilities={"media": (), "splittable": False}):
    """Turns bytes into rows and back."""

    def decode(self, file: Any, schema: Any, ctx: Any) -> Iterator[Any]:
        """The rows of a file, in parts."""
        raise NotImplementedError

    def decode_each(self, batch: Batch, schema: Any, ctx: Any) -> Any:
        """The rows of the messages in the column ``value``."""
        raise NotImplementedError

    def encode(self, batches: Iterator[Batch], file: Any, ctx: Any) -> None:
        """Write batches to a file."""
        raise NotImplementedError

    def encode_each(self, batch: Batch, ctx: Any) -> Any:
        """One message a row."""
        raise NotImplementedError


class Notifier(Component, kind="notifier"):
    """Tells people of an alert."""

    def notify(self, *args: Any, **kwargs: Any) -> None:
        """``(alert, ctx)``."""
        raise NotImplementedError


class Secrets(Component, kind="secrets"):
    """Answers ``${secret:NAME}``."""

    def get(self, name: str) -> tuple[str, float | None]:
        """The value, and for how many seconds it is good (None: for ever). Raises KeyError."""
        raise NotImplementedError

    def put(self, name: str, value: str) -> None:
        """Keep a value."""
        raise NotImplementedError


class Keyring(Component, kind="keyring"):
    """Holds the keys that wrap data keys."""

    def current(self) -> str:
        """The id of the key for new data."""
        raise NotImplementedError

    def wrap(self, key_id: str, data_key: bytes) -> bytes:
        """A data key, encrypted."""
        raise NotImplementedError

    def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """The data key again."""
        raise NotImplementedError
