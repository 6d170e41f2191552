"""Which JavaScript engine runs plugins here, and where it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError
from dataflare_js.build import ENGINES, cached, digest_of

if TYPE_CHECKING:
    import wasmtime

    from dataflare_wasm.engine import Engine

VARIABLE = "DATAFLARE_JS_ENGINE"
_MIB = 1 << 20


@dataclass(frozen=True)
class Memory:
    """Bytes that an instance of an engine needs at least, and gets where no limit says less."""

    least: int
    usual: int


MEMORY = {"starling": Memory(128 * _MIB, 512 * _MIB), "quickjs": Memory(4 * _MIB, 256 * _MIB)}


@dataclass(frozen=True)
class Chosen:
    """An engine, the file of its core module, and the digest of what that was made of."""

    name: str
    file: Path
    digest: str

    def module(self, machine: Engine) -> wasmtime.Module:
        """Its code, compiled or from the cache."""
        return machine.module(self.file, known=self.digest)

    def memory(self, limit: int | None) -> int:
        """Bytes that a plugin gets. Raises ConfigError ``js.memory`` where the limit is too small for the engine."""
        need = MEMORY[self.name]
        if limit is None:
            return need.usual
        if limit < need.least:
            smaller = "" if self.name == "quickjs" else f", or set {VARIABLE}=quickjs, which needs less"
            raise ConfigError.of(
                "js.memory",
                f"the engine `{self.name}` needs {need.least // _MIB} MiB, the plugin may have {limit / _MIB:g} MiB",
                fix=f"raise `memory` in the manifest's [limits] and the grant{smaller}",
            )
        return limit


def choose(given: str | None = None) -> Chosen:
    """The engine that is asked for, here or by ``DATAFLARE_JS_ENGINE``; else the fastest that is there.

    Raises ConfigError ``js.no_engine``, ``js.unknown_engine``.
    """
    asked = given or os.environ.get(VARIABLE)
    if asked is not None and asked not in ENGINES:
        fix = f"known engines: {', '.join(ENGINES)}"
        raise ConfigError.of("js.unknown_engine", f"there is no JavaScript engine `{asked}`", fix=fix)
    for name in (asked,) if asked else ENGINES:
        for file in (Path(__file__).parent / "engines" / f"{name}.wasm", cached(name)):
            if file.exists():
                return Chosen(name, file, digest_of(name))
    raise ConfigError.of(
        "js.no_engine",
        f"the JavaScript engine{f' `{asked}`' if asked else ''} is not on this machine",
        cause="it travels in the wheel of `dataflare-js`, which was built here without Node.js or a package registry",
        fix="run `python -m dataflare_js.build` once (`starling` needs Node.js, `quickjs` only Python)",
    )
