"""Why a guest ended: wasmtime's errors, said as causes that its author can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wasmtime

    from dataflare.hosting.transport import Loss
    from dataflare_wasm.sandbox import Sandbox

_CALLS = 6
"""Calls of the guest that are named, the innermost first."""


class Ended(Exception):
    """A guest cannot be used any more: ``code`` as in ``GuestLost``, and the cause."""

    def __init__(self, code: Loss, cause: str) -> None:
        super().__init__(cause)
        self.code = code
        self.cause = cause


def ending(error: Exception, sandbox: Sandbox) -> Ended:
    """What an error of wasmtime tells about the guest of a sandbox."""
    import wasmtime

    said = sandbox.journal.last()
    if isinstance(error, wasmtime.ExitTrap):
        code: Loss = "guest.memory" if _without_memory(said) else "guest.exited"
        return Ended(code, _told(f"it ended itself with the code {error.code}", said))
    if isinstance(error, wasmtime.Trap):
        return _trapped(error, sandbox, said)
    text = str(error)
    if "exceeds memory limits" in text:
        return Ended("guest.memory", f"its memory does not fit into {sandbox.limit:,} bytes: {text}")
    return Ended("guest.trap", _told(text, said))


def _trapped(trap: wasmtime.Trap, sandbox: Sandbox, said: str) -> Ended:
    import wasmtime

    code = trap.trap_code
    if code == wasmtime.TrapCode.INTERRUPT:
        return Ended("guest.timeout", "it took longer than the call may take")
    if code == wasmtime.TrapCode.STACK_OVERFLOW:
        return Ended("guest.trap", _told(f"its calls are nested too deep{_where(trap)}", ""))
    crowded = hasattr(sandbox, "memory") and sandbox.memory.size >= sandbox.limit * 3 // 4
    if _without_memory(said) or (crowded and code == wasmtime.TrapCode.UNREACHABLE):
        return Ended("guest.memory", _told(f"it needs more memory than its {sandbox.limit:,} bytes", said))
    word = "trap" if code is None else code.name.lower().replace("_", " ")
    return Ended("guest.trap", _told(f"{word}{_where(trap)}", said))


def _where(trap: wasmtime.Trap) -> str:
    names = [frame.func_name or f"function {frame.func_index}" for frame in trap.frames[:_CALLS]]
    return f" in {' < '.join(names)}" if names else ""


def _without_memory(said: str) -> bool:
    return "out of memory" in said.lower()


def _told(what: str, said: str) -> str:
    return f"{what}\n{said}" if said else what
