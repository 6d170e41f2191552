"""An Extism module, compiled; and instances of it, with HTTP, paths and sleep taken away."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError
from dataflare_wasm.extism_kept import kept
from dataflare_wasm.sandbox import MEMORY
from dataflare_wasm.wasi import MODULE as WASI

if TYPE_CHECKING:
    from dataflare.hosting import Limits

ENV = "extism:host/env"
IMPORTS = tuple(
    (ENV, name)
    for name in (
        "alloc free length length_unsafe load_u8 load_u64 store_u8 store_u64 input_offset input_length input_load_u8 "
        "input_load_u64 output_set output_length output_offset error_set error_get reset memory_bytes config_get "
        "var_get var_set get_log_level log_trace log_debug log_info log_warn log_error"
    ).split()
)
"""What Extism gives a module; its HTTP is not among them."""
WALL = 60.0
"""Seconds that a call may take where no limit says less."""
_PAGE = 64 << 10
_NAP = 0.001


class ExtismModule:
    """Compiled when the first instance is needed. Thread-safe."""

    def __init__(self, file: Path, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._compiled: Any = None
        self._turn = threading.Lock()

    def instance(self, config: Mapping[str, str]) -> Any:
        """A fresh ``extism.Plugin``. Raises ConfigError ``plugin.wasm_invalid``."""
        import extism

        try:
            with self._turn:
                if self._compiled is None:
                    self._compiled = self._compile()
            return extism.Plugin(self._compiled, config=dict(config))
        except extism.Error as error:
            message = "Extism cannot run the module"
            raise ConfigError.of("plugin.wasm_invalid", message, cause=str(error), file=str(self._file)) from error

    def _compile(self) -> Any:
        from extism.extism import CompiledPlugin

        manifest = {
            "wasm": [{"path": str(self._file)}],
            "memory": {
                "max_pages": (self._limits.memory or MEMORY) // _PAGE,
                "max_http_response_bytes": 0,
                "max_var_bytes": 1 << 20,
            },
            "timeout_ms": max(1, round((self._limits.wall_per_batch or WALL) * 1000)),
        }
        with kept():
            return CompiledPlugin(manifest, wasi=True, functions=[_napping()])


@cache
def _napping() -> Any:
    """``poll_oneoff`` for modules: a short wait, whatever they ask for, so that their deadline is seen."""
    import extism

    def nap(_plugin: Any, _given: Any, results: Any) -> None:
        time.sleep(_NAP)
        results[0].value = 0

    signature = ([extism.ValType.I32] * 4, [extism.ValType.I32])
    return extism.host_fn(name="poll_oneoff", namespace=WASI, signature=signature)(nap)
