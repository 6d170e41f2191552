"""``validate``, ``check``, ``plan`` and ``explain``: looking at a flow without running it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from dataflare import Command, ConfigError, Problem, command, field
from dataflare_host.cli.output import styled, tell
from dataflare_host.cli.process import starting
from dataflare_host.plan import Plan

Json = Any
Format = Literal["text", "mermaid", "svg", "json"]
_OF_SUFFIX: dict[str, Format] = {".json": "json", ".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid"}


class Validate(Command, name="validate"):
    """Say everything that is wrong with a flow file.

    Each mistake comes with its line, cause and fix. Exit code: 0 nothing is wrong, 2 something is.
    """

    _tries = False

    def call(self, host: Any, flow: Path) -> Json:
        """Plans; warnings go to stderr. Raises ConfigError with every problem."""
        with starting():
            plan = host.plan(flow, check=self._tries)
        warnings = plan.options.get("warnings", [])
        show_warnings(warnings)
        told = {"ok": True, "flow": plan.name, "file": str(flow), "errors": [], "warnings": warnings}
        return {**told, "steps": len(plan.steps), "guarantee": plan.guarantee.effective}

    def show(self, answer: Json) -> str:
        """One line."""
        return f"{answer['file']}: ok, {answer['steps']} steps, {answer['guarantee']}"


class Check(Validate, name="check"):
    """Validate a flow, then ask its components to try their connections.

    Rights, files and addresses are looked at, nothing is read or written. Exit code: 0 nothing is wrong, else 2.
    """

    _tries = True


class Draw(Command, name="plan"):
    """Draw a flow: its steps, schemas, fused chains and guarantee."""

    format: Format | None = field(default=None, help="By default as the name of --out ends, else text.")
    out: Path | None = field(default=None, help="Write to this file.")

    def call(self, host: Any, flow: Path) -> Json:
        """The plan. Raises ConfigError with every problem, ``cli.not_written``."""
        plan = host.plan(flow)
        if self.out is not None:
            try:
                self.out.write_text(f"{self._drawn(plan)}\n", "utf-8")
            except OSError as error:
                raise ConfigError.of("cli.not_written", f"`{self.out}` cannot be written", cause=str(error)) from error
        return plan.shown()

    def show(self, answer: Json) -> str:
        """The drawing, where it is not in a file."""
        return "" if self.out is not None else self._drawn(Plan.from_json(answer))

    def _drawn(self, plan: Plan) -> str:
        from dataflare_commands import draw

        named = _OF_SUFFIX.get(self.out.suffix, "text") if self.out is not None else "text"
        style = self.format or named
        if style == "json":
            return json.dumps(plan.shown(), ensure_ascii=False, indent=None if self.out is None else 2)
        return str(getattr(draw, style)(plan))


@command(name="explain")
def explain(host: Any, flow: Path) -> Json:
    """Say how a flow will run: guarantee with reasons, schemas, fused chains, splits."""
    from dataflare_commands.explain import explain as explained

    return explained(host.plan(flow), host)


def show_warnings(warnings: Iterable[Mapping[str, Any]]) -> None:
    """What a plan warns of, on stderr."""
    for each in warnings:
        told = Problem(each["code"], each["message"], pointer=each.get("pointer"), fix=each.get("fix"))
        tell(f"{styled('warning', 'yellow')}  {told.render()}")
