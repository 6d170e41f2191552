"""State by key: declared as an attribute, kept by the engine, restored after a crash.

::

    class Dedupe(Processor, by="key"):
        key: Columns
        ttl: Duration | None = None
        seen: State[bool] = state(ttl="ttl")

        def process(self, batch: Batch) -> Batch:
            known = self.seen.get(batch)
            self.seen.put(batch, [True] * len(batch))
            ...
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dataflare.calling import hints
from dataflare.errors import ConfigError
from dataflare.json_types import JsonType

if TYPE_CHECKING:
    from dataflare.batch import Batch
    from dataflare.component import Component, Processor
    from dataflare.context import Context, StateBackend

S = TypeVar("S")


class State(Generic[S]):
    """A value for each key. ``seen: State[bool] = state(ttl="ttl")`` in a processor with ``by=``.

    Writes take effect when the running call returns; if it fails, they never happened.
    """

    def __init__(self, *, ttl: float | str | None = None, version: int = 1, plain: bool = False) -> None:
        self.ttl = ttl
        self.version = version
        self.plain = plain
        self.name = ""
        self.columns: tuple[str, ...] = ()
        self._type = JsonType(None, "state")
        self._ctx: Context | None = None

    def get(self, keys: Batch) -> list[S | None]:
        """The value for the key of each row, None where there is none. The batch may have more columns than the key."""
        backend, encoded = self._ready(keys)
        values: list[Any] = backend.get(self.name, encoded)
        return values if self.plain else self._type.load_all(values)

    def put(self, keys: Batch, values: Iterable[S | None]) -> None:
        """New values for the key of each row, None: forget it. Of rows with the same key the last one counts."""
        backend, encoded = self._ready(keys)
        listed = _listed(values)
        dumped = listed if self.plain else self._type.dump_all(listed)
        if len(dumped) != len(encoded):
            raise ConfigError.of(
                "state.length", f"the state `{self.name}` got {len(dumped)} values for {len(encoded)} keys"
            )
        ttl = self.ttl
        backend.put(self.name, encoded, dumped, ttl if ttl is None else float(ttl))

    def items(self, schema: Any) -> tuple[Batch, list[S]]:
        """All keys that this lane holds, as rows of ``schema`` (the key columns), and their values.

        What the running call has put is not among them.
        """
        return self._read(self._backend().items(self.name), schema)

    def scan(self, schema: Any, rows: int = 1_024) -> Iterator[tuple[Batch, list[S]]]:
        """``items`` in parts of at most ``rows`` keys: for more than should be in memory at once."""
        for part in self._backend().scan(self.name, rows):
            yield self._read(part, schema)

    def part(self, part: str) -> State[S]:
        """A part of the state with values of its own: so that a key which holds much need not be written as a whole."""
        made = copy(self)
        made.name = f"{self.name}/{part}"
        return made

    def parts(self) -> list[str]:
        """The parts that hold something."""
        begin = f"{self.name}/"
        return sorted(name.removeprefix(begin) for name in self._backend().names() if name.startswith(begin))

    def _read(self, held: Mapping[bytes, Any], schema: Any) -> tuple[Batch, list[S]]:
        from dataflare import keys as key_bytes
        from dataflare.batch import Batch

        values: list[Any] = list(held.values())
        return Batch(key_bytes.decode(list(held), schema)), values if self.plain else self._type.load_all(values)

    def _ready(self, keys: Batch) -> tuple[Any, list[bytes]]:
        from dataflare import keys as key_bytes

        return self._backend(), key_bytes.encode(keys, list(self.columns))

    def _backend(self) -> StateBackend:
        if self._ctx is None or self._ctx.state is None:
            raise ConfigError.of(
                "state.unavailable",
                f"the state `{self.name or 'declared here'}` can only be used while the step runs",
                fix="use it in process, timer, watermark or finish; in tests through dataflare.testing",
            )
        return self._ctx.state


def state(*, ttl: float | str | None = None, version: int = 1, plain: bool = False) -> Any:
    """Declare a state. ``ttl``: seconds after the last put, or the field that says it; ``version``: of its type.

    ``plain``: its values are JSON already and never changed in place, so they are not copied.
    """
    return State(ttl=ttl, version=version, plain=plain)


def key_columns(component: Processor) -> tuple[str, ...]:
    """The key columns of a component: what the field named by ``by`` holds; empty for one without keys."""
    name = component.spec.get("by")
    if name is None:
        return ()
    if not hasattr(component, name):
        raise ConfigError.of(
            "step.by",
            f"`{component.spec.name}` declares by={name!r}, but has no field `{name}`",
            fix=f"add the field `{name}: Columns`",
        )
    value = getattr(component, name)
    return (value,) if isinstance(value, str) else tuple(value)


def declared_states(cls: type[Component]) -> dict[str, State[Any]]:
    """The states that a component class declares, by name."""
    found: dict[str, State[Any]] = {}
    for owner in reversed(cls.__mro__):
        for name, value in vars(owner).items():
            if isinstance(value, State):
                found[name] = value
    for name, kind in hints(cls).items():
        if typing.get_origin(kind) is State or kind is State:
            found.setdefault(name, State())
    return found


def bind_state(component: Processor, ctx: Context) -> None:
    """Give a component's declared states their backend (``ctx.state``, looked at in each call), type and columns."""
    declared = declared_states(type(component))
    if not declared:
        return
    columns, kinds = key_columns(component), hints(type(component))
    for name, declaration in declared.items():
        if component.spec.get("by") is None:
            raise ConfigError.of(
                "state.no_key",
                f"`{component.spec.name}` declares the state `{name}`, but no key",
                fix='add `by="key"` to the class and the field `key: Columns`',
            )
        ttl = getattr(component, declaration.ttl) if isinstance(declaration.ttl, str) else declaration.ttl
        bound: State[Any] = State(ttl=ttl, version=declaration.version, plain=declaration.plain)
        bound.name, bound.columns, bound._ctx = name, columns, ctx
        arguments = typing.get_args(kinds.get(name))
        bound._type = JsonType(arguments[0] if arguments else None, "state")
        setattr(component, name, bound)


def _listed(values: Any) -> list[Any]:
    return list(values.to_pylist() if hasattr(values, "to_pylist") else values)
