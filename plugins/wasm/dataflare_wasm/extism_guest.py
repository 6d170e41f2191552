"""Extism modules as guests: those that take frames, and plain exports that take rows or an object as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflare.errors import Problem
from dataflare.guest.frames import Frame
from dataflare_wasm.carrier import Carrier
from dataflare_wasm.ending import Ended

if TYPE_CHECKING:
    from dataflare.hosting import Limits
    from dataflare.hosting.transport import Answering, Loss
    from dataflare_wasm.extism_module import ExtismModule

Json = Any
FRAMES = "dataflare_call"
"""The export that takes frames."""


@dataclass(frozen=True)
class Export:
    """An export that does the work of a component; JSON Schemas of its configuration, and of a tool's input."""

    name: str
    config: Mapping[str, Json] = field(default_factory=dict)
    input: Mapping[str, Json] = field(default_factory=dict)


Exports = Mapping[tuple[str, str], Export]
"""Kind and name of a component → its export."""


class Refused(Exception):
    """What an export set as its error."""


class ExtismGuest(Carrier):
    """An instance that answers frames. After any error it is closed."""

    def __init__(self, module: ExtismModule, limits: Limits, plugin: str) -> None:
        super().__init__(plugin, limits)
        self._module = module
        self._instance: Any = module.instance({})
        self._closed = False

    def close(self) -> None:
        """End it. Never raises. From any thread; an export that runs is interrupted soon."""
        self._closed = True
        if self._instance is not None:
            self._instance.cancel_handle().cancel()

    def _carry(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        content = request.pack()
        try:
            return self.unpacked(self._export(FRAMES, content), len(content))
        except Refused as error:
            raise Ended("guest.trap", str(error)) from error

    def _export(self, name: str, content: bytes) -> bytes:
        """What an export answers. Raises Refused, Ended."""
        import extism

        if self._closed:
            raise Ended("guest.exited", "it was closed")
        with self.usage.call(len(content)):
            try:
                answer: bytes = self._instance.call(name, content)
            except extism.Error as error:
                self._instance = None
                if self._closed:
                    raise Ended("guest.exited", "it was closed while it worked") from error
                raise _ending(str(error)) from error
            self.usage.answered(len(answer), 0)
        return answer


class PlainGuest(ExtismGuest):
    """Exports with bytes in and out; the frames are answered in their place. A fresh instance after any error."""

    def __init__(self, module: ExtismModule, limits: Limits, plugin: str, exports: Exports) -> None:
        super().__init__(module, limits, plugin)
        self._exports = exports
        self._config: dict[str, str] = {}

    def _carry(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        header = request.header
        op = str(header.get("op"))
        if op in ("open", "call"):
            self._configure(header.get("config") or {})
        if op == "process":
            given = bytes(request.parts[header.get("part", 0)])
            return self._answered(self._opened, given, list)
        if op == "call":
            return self._answered(header["component"], json.dumps(header.get("input") or {}).encode(), dict)
        told: Mapping[str, dict[str, Json]] = {
            "describe": described(self._exports),
            "open": {},
            "close": {},
            "check": {"problems": []},
            "plan": {"schemas": None},
        }
        if op not in told:
            problem = Problem("guest.operation", f"an Extism export cannot be asked for `{op}`", kind="fatal")
            return Frame({"error": problem.as_json()})
        return Frame(told[op])

    def _configure(self, config: Mapping[str, Json]) -> None:
        told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in config.items()}
        if told != self._config or self._instance is None:
            self._config, self._instance = told, self._module.instance(told)

    def _answered(self, component: str, given: bytes, wanted: type) -> Frame:
        kind, _, name = component.partition(":")
        export = self._exports[kind, name].name
        if self._instance is None:
            self._instance = self._module.instance(self._config)
        try:
            answer = self._export(export, given)
        except Refused as error:
            return Frame({"error": Problem("step.failed", str(error), kind="fatal").as_json()})
        self.bounded(len(answer), len(given))
        try:
            told = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise Ended("guest.frame", f"`{export}` answered with what is no JSON: {error}") from error
        if not isinstance(told, wanted):
            what = "an array of rows" if wanted is list else "an object"
            raise Ended("guest.frame", f"`{export}` did not answer with {what}")
        if wanted is dict:
            return Frame({"output": told})
        return Frame({"outputs": [{"name": "", "part": 0}]}, [answer])


def described(exports: Exports) -> dict[str, Json]:
    """What plain exports are, as the answer to ``describe``."""
    components = [
        {
            "kind": kind,
            "name": name,
            "doc": f"The export `{export.name}` of an Extism module.",
            "config": {"type": "object", **export.config},
            "operations": ["process"] if kind == "processor" else ["call"],
            "input": {"type": "object", **export.input},
        }
        for (kind, name), export in exports.items()
    ]
    return {"protocol": 1, "encodings": ["json"], "components": components}


def _ending(text: str) -> Exception:
    """How an error of Extism ended its instance: Ended, or Refused where the export set the error itself."""
    if text == "timeout":
        return Ended("guest.timeout", "it took longer than the call may take")
    if text == "oom":
        return Ended("guest.memory", "it needs more memory than it may have")
    if "wasm backtrace" not in text:
        return Refused(text)
    code: Loss = "guest.exited" if "runtime.exit" in text or "Exited with" in text else "guest.trap"
    return Ended(code, text)
