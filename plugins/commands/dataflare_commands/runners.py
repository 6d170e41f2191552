"""``flow status | stop | drain | reload``: running flows, from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dataflare import Command, field
from dataflare_host.cli.output import as_text, tell

Json = Any
_TIMEOUT = "Seconds to wait until it ended; 0: none."


class Status(Command, name="flow.status"):
    """What a running flow is doing: rows, rates, queues, lag.

    Exit code: 2 where it does not run.
    """

    def call(self, host: Any, flow: Path) -> Json:
        """The runner's status. Raises ConfigError ``run.not_running``."""
        return host.command(str(flow), "status", {})

    def show(self, answer: Json) -> str:
        """The flow, then a table of its steps."""
        steps = [{"step": name, **counts} for name, counts in answer.get("steps", {}).items()]
        return "\n".join([as_text({name: value for name, value in answer.items() if name != "steps"}), as_text(steps)])


class Stop(Command, name="flow.stop"):
    """Stop a flow at a barrier; the next run goes on from there."""

    def call(
        self,
        host: Any,
        flow: Path,
        *,
        now: bool = field(default=False, help="Leave at once: the epoch in flight is read again by the next run."),
        timeout: float = field(default=60.0, help=_TIMEOUT),
    ) -> Json:
        """The answer, and how the flow ended. Raises ConfigError ``run.not_running``."""
        return _end(host, flow, "abort" if now else "stop", {}, timeout)

    def show(self, answer: Json) -> str:
        """How it ended, in one line."""
        return _how(answer)


class Reload(Command, name="flow.reload"):
    """Stop a running flow at a barrier and go on, in the same process, by its file and its plugins as they are now.

    It is planned first: where the plan is refused, the flow goes on as it was. No row is lost or doubled.
    """

    def call(self, host: Any, flow: Path) -> Json:
        """``{"ok", "flow", "digest"}``. Raises ConfigError: ``run.not_running``, what is wrong with the plan."""
        with host.runner(flow) as line:
            answer = host.change("flow.reload", str(flow), lambda: line.ask("reload", {}))
            return {"ok": bool(answer["reloaded"]), "flow": line.hello["flow"], "digest": answer["digest"]}

    def show(self, answer: Json) -> str:
        """Whether it goes on already."""
        return f"{answer['flow']}  {'goes on' if answer['ok'] else 'is still coming to a barrier, and goes on then'}"


class Drain(Command, name="flow.drain"):
    """Stop a flow once all it has read is committed."""

    def call(
        self,
        host: Any,
        flow: Path,
        *,
        final: bool = field(default=False, help="Treat the input as ended: flush windows, finish the flow."),
        timeout: float = field(default=60.0, help=_TIMEOUT),
    ) -> Json:
        """The answer, and how the flow ended. Raises ConfigError ``run.not_running``."""
        return _end(host, flow, "drain", {"final": final}, timeout)

    def show(self, answer: Json) -> str:
        """How it ended, in one line."""
        return _how(answer)


def _end(host: Any, flow: Path, command: str, args: dict[str, Any], timeout: float) -> Json:
    with host.runner(flow) as line:
        answer = host.change(f"flow.{command}", str(flow), lambda: line.ask(command, args))
        ended: dict[str, Any] | None = None
        if timeout > 0:
            try:
                ended = line.wait(timeout)
            except TimeoutError:
                tell(f"{line.hello['flow']} takes longer than {timeout:g} s; it is still stopping")
        told = {"flow": line.hello["flow"], "pid": line.hello["pid"], "answer": answer, "ended": ended}
    return {"ok": ended is not None or timeout <= 0, **told}


def _how(answer: Json) -> str:
    ended = answer["ended"]
    if ended is None:
        return ""
    return f"{answer['flow']}  {ended.get('status', 'gone')}  at epoch {ended.get('epoch', '?')}"
