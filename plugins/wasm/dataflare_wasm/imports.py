"""What a module imports and exports, before it runs: everything that its manifest does not imply is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Problem
from dataflare_wasm import wasi

if TYPE_CHECKING:
    import wasmtime

Signature = tuple[tuple[str, ...], tuple[str, ...]]
"""What a function takes and gives: ``i32``, ``i64``."""


def refused(
    module: wasmtime.Module,
    given: Iterable[tuple[str, str]],
    permissions: Mapping[str, Any],
    file: str | None = None,
) -> Iterator[Problem]:
    """A problem (``plugin.wasm_import``) for each import beyond ``given`` and what of WASI the permissions imply."""
    allowed = {*given, *((wasi.MODULE, name) for name in wasi.GIVEN)}
    if permissions.get("sockets"):
        allowed |= {(wasi.MODULE, name) for name in wasi.SOCKETS}
    for each in module.imports:
        name = each.name or ""
        if (each.module, name) in allowed and not _is_function(each.type):
            yield _problem(f"it imports `{each.module}.{name}`, which is no function", file, "import the function")
        elif (each.module, name) not in allowed:
            yield _problem(f"it imports `{each.module}.{name}`", file, _fix(each.module, name))


def lacking(
    module: wasmtime.Module, wanted: Mapping[str, Signature], file: str | None = None, *, memory: bool = True
) -> Iterator[Problem]:
    """A problem (``plugin.wasm_export``) for each function that the module does not export as wanted, and `memory`."""
    import wasmtime

    have = {each.name: each.type for each in module.exports}
    fix = "build the module with an SDK for this host"
    if memory and not isinstance(have.get("memory"), wasmtime.MemoryType):
        yield Problem("plugin.wasm_export", "the module does not export `memory`", file=file, fix=fix)
    for name, signature in wanted.items():
        found = have.get(name)
        if not isinstance(found, wasmtime.FuncType):
            yield Problem("plugin.wasm_export", f"the module does not export `{name}`", file=file, fix=fix)
        elif (have_it := _signature(found)) != signature:
            message = f"the module exports `{name}` as {_said(have_it)}, not as {_said(signature)}"
            yield Problem("plugin.wasm_export", message, file=file, fix=fix)


def insist(problems: Iterable[Problem]) -> None:
    """Raise ConfigError with the problems, if there are any."""
    if found := tuple(problems):
        raise ConfigError(*found)


def _problem(what: str, file: str | None, fix: str) -> Problem:
    return Problem("plugin.wasm_import", f"the module is refused: {what}", file=file, fix=fix)


def _fix(module: str, name: str) -> str:
    if module == wasi.MODULE and name in wasi.SOCKETS:
        return "say `sockets` in the manifest's [permissions], with a reason; or leave out what uses sockets"
    if module in (wasi.MODULE, "dataflare"):
        return "build it with an SDK for this host"
    return "a plugin reaches the world through `dataflare` only: leave out the library that needs this"


def _is_function(type: Any) -> bool:
    import wasmtime

    return isinstance(type, wasmtime.FuncType)


def _signature(type: wasmtime.FuncType) -> Signature:
    return tuple(str(each) for each in type.params), tuple(str(each) for each in type.results)


def _said(signature: Signature) -> str:
    takes, gives = signature
    return f"({', '.join(takes)}) -> ({', '.join(gives)})"
