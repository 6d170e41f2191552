"""One exported function of a guest, ready to be called: what wasmtime-py works out for each call is worked out once.

Beside the time: wasmtime-py keeps the last exception of any host function in one place for all threads, and raises it
in whichever call ends next. This looks at the call's own error and trap only.
"""

from __future__ import annotations

import ctypes
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

_FIELDS = {"i32": ("i32", ffi.WASMTIME_I32), "i64": ("i64", ffi.WASMTIME_I64)}


class Export:
    """Takes and gives whole numbers. Raises ValueError for a function with other types."""

    def __init__(self, store: wasmtime.Store, function: wasmtime.Func) -> None:
        kind = function.type(store)
        takes, gives = ([str(each) for each in types] for types in (kind.params, kind.results))
        if not {*takes, *gives} <= {*_FIELDS}:
            raise ValueError(f"({', '.join(takes)}) -> ({', '.join(gives)})")
        self._function = function._func
        self._takes = [_FIELDS[each][0] for each in takes]
        self._gives = [_FIELDS[each][0] for each in gives]
        self._given = (ffi.wasmtime_val_t * len(takes))()
        self._results = (ffi.wasmtime_val_t * len(gives))()
        for value, each in zip(self._given, takes, strict=True):
            value.kind = _FIELDS[each][1].value

    def __call__(self, store: wasmtime.Store, *given: int) -> Any:
        """What the function gives: nothing, a number (signed), or a list. Raises WasmtimeError, Trap."""
        for value, field, number in zip(self._given, self._takes, given, strict=True):
            setattr(value.of, field, number)
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_func_call(
            store._context(),
            ctypes.byref(self._function),
            self._given,
            len(self._takes),
            self._results,
            len(self._gives),
            ctypes.byref(trap),
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        if trap:
            raise wasmtime.Trap._from_ptr(trap)
        found = [getattr(value.of, field) for value, field in zip(self._results, self._gives, strict=True)]
        return None if not found else found[0] if len(found) == 1 else found
