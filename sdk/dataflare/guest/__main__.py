"""``python -m dataflare.guest TARGET…``: serves components over standard input and output.

A target is a module, or ``module:object`` for one component. Frames are the only thing on the real standard output;
what a plugin prints goes to standard error. The options are for a host that starts the process itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from dataflare.declare import component_class
from dataflare.errors import Failed
from dataflare.guest import MEMORY_EXIT
from dataflare.guest.channel import Channel
from dataflare.guest.frames import Frame
from dataflare.guest.serving import Guest, failed
from dataflare.loading import load_failed

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.guest.leash import Leash


def main() -> int:
    """Serve until standard input ends; then close what is open."""
    given = _options().parse_args()
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    channel = _channel(requests, answers, given)
    asking = threading.Lock()

    def ask(frame: Frame) -> Frame:
        # A component may ask from several of its own threads; the host answers one question at a time.
        with asking:
            channel.send(frame)
            answer = channel.receive()
        if answer is None:
            raise Failed.of("guest.host_gone", "the host has gone")
        return answer

    sys.path[:0] = given.path
    leash = _leash(given)
    try:
        guest = Guest(_components(given.targets), ask, room=channel.room)
    except Exception as error:
        traceback.print_exc()
        if channel.receive() is not None:
            channel.send(Frame(failed(error)))
        return 1
    try:
        while (frame := channel.receive()) is not None:
            answer = guest.handle(frame)
            del frame  # shared memory that nobody looks at any more is given back with the answer
            channel.send(answer)
            del answer
    except MemoryError:
        try:
            traceback.print_exc()
        finally:
            os._exit(MEMORY_EXIT)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        guest.end()
        if leash is not None:
            leash.end()
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dataflare.guest")
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="a module, or module:object")
    parser.add_argument("--path", action="append", default=[], help="a folder where modules are looked for first")
    parser.add_argument("--control", type=int, help="the descriptor of a pipe whose end means that the host has gone")
    parser.add_argument("--parent", type=int, default=0, help="the host's process number")
    parser.add_argument("--shared", help="the descriptors of shared memory: the host's, this one's")
    parser.add_argument("--shared-from", type=int, help="bytes from which on a part goes through shared memory")
    parser.add_argument("--memory", type=int, help="bytes that may be allocated beyond what the bare guest has")
    return parser


def _leash(given: argparse.Namespace) -> Leash | None:
    if given.control is None:
        return None
    from dataflare.guest.leash import Leash, bound_memory

    leash = Leash(given.control, given.parent)
    if given.memory is not None:
        bound_memory(given.memory)
    return leash


def _channel(requests: int, answers: int, given: argparse.Namespace) -> Channel:
    if given.shared is None:
        return Channel(requests, answers)
    from dataflare.guest.shared import SHARED_FROM, Inbox, Outbox

    theirs, ours = map(int, given.shared.split(","))
    for descriptor in (theirs, ours):
        os.set_inheritable(descriptor, False)
    least = SHARED_FROM if given.shared_from is None else given.shared_from
    return Channel(requests, answers, Inbox(theirs, copies=False), Outbox(ours, least))


def _components(targets: Sequence[str]) -> list[type[Component]]:
    """The components at the targets; of a module those of its own package. Raises ConfigError."""
    found: dict[type[Component], None] = {}
    for target in targets:
        try:
            found |= dict.fromkeys(_at(target))
        except (Exception, SystemExit) as error:
            raise load_failed("plugin.load_failed", f"`{target}` cannot be loaded", error) from error
    return list(found)


def _at(target: str) -> Iterator[type[Component]]:
    name, _, path = target.partition(":")
    module = importlib.import_module(name)
    if path:
        made = component_class(reduce(getattr, path.split("."), module))
        if made is None:
            raise TypeError("this is not a component")
        yield made
        return
    values: list[Any] = [value for word, value in vars(module).items() if not word.startswith("_")]
    package = name.partition(".")[0]
    for made in map(component_class, values):
        if made is not None and made.__module__.partition(".")[0] == package:
            yield made


if __name__ == "__main__":
    sys.exit(main())
