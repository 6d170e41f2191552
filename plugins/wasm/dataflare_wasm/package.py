"""What a plugin's package holds for a loader of this bundle: its module, and what its components are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, Failed, problem_of
from dataflare.guest.frames import Frame
from dataflare.guest.remote import error_of
from dataflare_wasm.sandbox import START

if TYPE_CHECKING:
    from dataflare.hosting import Guests
    from dataflare_host.manifest import Manifest

TABLE = "components.json"
ENTRY = "plugin.wasm"


def entry_of(manifest: Manifest) -> Path:
    """The module's file. Raises ConfigError ``plugin.entry_outside`` for one outside of the plugin's package."""
    folder = Path(manifest.file).resolve().parent
    file = (folder / (manifest.entry or ENTRY)).resolve()
    if not file.is_relative_to(folder):
        message = f"the entry `{manifest.entry}` of `{manifest.id}` is outside of its package"
        raise ConfigError.of("plugin.entry_outside", message, file=manifest.file, pointer="/runtime/entry")
    return file


def table_of(manifest: Manifest) -> Mapping[str, Any] | None:
    """The answer to ``describe`` that was kept at the build, where there is one."""
    try:
        told = json.loads((Path(manifest.file).parent / TABLE).read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def asked(guests: Guests, plugin: str) -> Mapping[str, Any]:
    """What a plugin says of itself when it is asked. Raises ConfigError, GuestLost, what the guest answers with."""
    transport = guests.take()
    try:
        answer = transport.call(Frame({"op": "describe"}), _nobody, START)
    finally:
        transport.close()
    if "error" in answer.header:
        raise error_of(answer.header["error"])
    return answer.header


def _nobody(question: Frame) -> Frame:
    if question.header.get("op") in ("log", "metric"):
        return Frame({})
    error = Failed.of("guest.no_host", f"nobody answers `{question.header.get('op')}` here")
    return Frame({"error": problem_of(error).as_json()})
