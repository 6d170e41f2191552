"""Interrupts a guest that runs: at its deadline, or because it was stopped from another thread.

wasmtime-py ends a store at a fixed tick only. This asks back, by the callback of wasmtime's C interface.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import wasmtime

EVERY = 10
"""Ticks between two questions."""
_CONTINUE = 0
_NUMBERS = itertools.count(1)


class Interrupt:
    """Asks ``over`` while the guest of a store runs, at least each 100 ms: True ends it. ``over`` never raises."""

    def __init__(self, store: wasmtime.Store, over: Callable[[], bool]) -> None:
        self.over = over
        self._number = next(_NUMBERS)
        _ALIVE[self._number] = self
        from wasmtime import _bindings as binding

        made, no_finalizer = _trampoline()
        binding.wasmtime_store_epoch_deadline_callback(store.ptr(), made, self._number, no_finalizer)
        store.set_epoch_deadline(EVERY)


_ALIVE: WeakValueDictionary[int, Interrupt] = WeakValueDictionary()


@cache
def _trampoline() -> tuple[Any, Any]:
    """The callback as C sees it, one for all stores, and a null in place of a finalizer."""
    from wasmtime import _bindings as binding

    callback, finalizer = binding._wasmtime_store_epoch_deadline_callback.argtypes[1:4:2]

    def asked(_context: Any, number: int | None, delta: Any, kind: Any) -> int:
        found = _ALIVE.get(number or 0)
        if found is None or found.over():
            return int(ctypes.cast(binding.wasmtime_error_new(b"stopped"), ctypes.c_void_p).value or 0)
        delta[0], kind[0] = EVERY, _CONTINUE
        return 0

    return callback(asked), finalizer()
