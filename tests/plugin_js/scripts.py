"""Scripts of tests, running in an engine as a host runs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dataflare.guest import Frame
from dataflare.hosting import Limits
from dataflare_js.engines import choose
from dataflare_js.guest import Bundle, JavaScriptGuest
from dataflare_js.places import Places
from dataflare_wasm.engine import engine

HERE = Path(__file__).parent
FRAMES = (HERE / "frames.js").read_text("utf-8")
ENGINES = ("starling", "quickjs")
Start = Callable[..., "Guest"]


class Host:
    """Answers questions, and keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.asked: list[dict[str, Any]] = []

    def __call__(self, question: Frame) -> Frame:
        op = question.header["op"]
        if op == "log":
            self.lines.append((question.header["level"], question.header["message"]))
        elif op != "metric":
            self.asked.append(question.header)
        return Frame({"value": f"answer to {op}"})


class Guest:
    """A running script, asked with frames."""

    def __init__(self, name: str, script: str, limits: Limits, source_map: bytes | None, plugin: str) -> None:
        chosen, machine = choose(name), engine()
        module, memory = chosen.module(machine), chosen.memory(limits.memory)
        self.host = Host()
        self.transport = JavaScriptGuest(
            Bundle(plugin, script.encode(), Places(source_map), machine, module, memory, limits)
        )

    def ask(self, op: str = "process", parts: Sequence[bytes] = (), seconds: float = 60, **words: Any) -> Frame:
        """The answer to a request."""
        return self.transport.call(Frame({"op": op, **words}, parts), self.host, seconds)

    def value(self, **words: Any) -> Any:
        """What a script of ``answering`` gives."""
        return self.ask(**words).header["value"]


def answering(expression: str, before: str = "") -> str:
    """A script that answers each request with the value of an expression, made JSON; it may await."""
    given = "const { header, parts } = unpack(request); const question = (words) => unpack(ask(pack(words))).header;"
    handle = f"async (request, ask) => {{ {given} return pack({{ value: {expression} }}); }}"
    return f"{FRAMES}\n{before}\nexports.handle = {handle};"


def doing(statements: str) -> str:
    """A script whose handle is these statements, with ``request`` and ``ask``."""
    return f"{FRAMES}\nexports.handle = function handle(request, ask) {{ {statements} }};"


def plugin_folder(folder: Path, id: str, script: str, *, described: Any = None, more: str = "") -> Path:
    """A JavaScript plugin's package as a wheel puts it."""
    home = folder / f"dataflare_{id.replace('-', '_')}"
    home.mkdir(parents=True)
    manifest = f"""
schema = 1
[plugin]
id = "{id}"
version = "0.1.0"
summary = "A plugin of a test."
[api]
requires = ">=1.0,<2"
[runtime]
kind = "js"
entry = "plugin.js"
{more}"""
    (home / "dataflare.toml").write_text(manifest, "utf-8")
    (home / "plugin.js").write_text(script, "utf-8")
    if described is not None:
        (home / "components.json").write_text(json.dumps(described), "utf-8")
    return home
