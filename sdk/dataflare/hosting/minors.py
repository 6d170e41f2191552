"""Guests built for an older minor version of the contract: one adapter for each step from a minor to the next.

The rest of a host speaks the newest minor only. What it asks a guest of an older one goes through the adapters of all
minors between, the newest first; so does what that guest asks, the other way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataflare.errors import ConfigError
from dataflare.guest import MINORS
from dataflare.guest.encoding import json_list, part_at
from dataflare.guest.frames import Frame

Json = Any
Ask = Callable[[Frame], Frame]
Call = Callable[[Frame, Ask], Frame]
"""Has a request answered; what is asked meanwhile is answered by the second."""
Said = Callable[[Frame, Ask], Frame]
"""Answers what one side says, by asking the other side what that understands."""


@dataclass(frozen=True)
class Adapter:
    """What a guest of one minor says otherwise than one of the next: ``op`` → how it is put to the other side."""

    requests: Mapping[str, Said] = field(default_factory=dict)
    questions: Mapping[str, Said] = field(default_factory=dict)

    def between(self, call: Call) -> Call:
        """``call`` of a guest of the older minor, as if it were of the newer one."""

        def called(request: Frame, answering: Ask) -> Frame:
            def answered(question: Frame) -> Frame:
                known = self.questions.get(str(question.header.get("op")))
                return answering(question) if known is None else known(question, answering)

            known = self.requests.get(str(request.header.get("op")))
            if known is None:
                return call(request, answered)
            return known(request, lambda frame: call(frame, answered))

        return called


def minor_of(described: Mapping[str, Json], plugin: str) -> str:
    """The newest minor that both a guest and this host speak, by its answer to ``describe``; 1.0 says nothing of it.

    Raises ConfigError ``guest.api``.
    """
    told = described.get("api", [MINORS[0]])
    spoken = [str(each) for each in told] if isinstance(told, list) else []
    for minor in reversed(MINORS):
        if minor in spoken:
            return minor
    raise ConfigError.of(
        "guest.api",
        f"`{plugin}` speaks {', '.join(spoken) or repr(told)} of the contract, this host speaks {', '.join(MINORS)}",
        fix="update the host, or use an older version of the plugin",
    )


def adapted(minor: str, call: Call) -> Call:
    """``call`` of a guest of this minor, as if it were of the newest."""
    for each in MINORS[MINORS.index(minor) : -1]:
        call = ADAPTERS[each].between(call)
    return call


# --- from 1.0 to 1.1 -----------------------------------------------------------------------------------


def _one_by_one(made: str) -> Said:
    """``migrate_state``, ``migrate_position`` take one value, and answer with it in the header under this word."""

    def said(request: Frame, ask: Ask) -> Frame:
        words = {name: value for name, value in request.header.items() if name != "part"}
        found = []
        for old in json_list(part_at(request.parts, request.header.get("part"))):
            answer = ask(Frame({**words, "old": old}))
            if "error" in answer.header:
                return answer
            found.append(answer.header.get(made))
        return Frame({"part": 0}, [json.dumps(found).encode()])

    return said


def _all_items(question: Frame, ask: Ask) -> Frame:
    """``state.items`` gives all at once."""
    words, keys, values = dict(question.header), [], []
    while True:
        answer = ask(Frame(words))
        if "error" in answer.header:
            return answer
        keys += answer.header["keys"]
        values += answer.header["values"]
        if answer.header.get("next") is None:
            return Frame({"keys": keys, "values": values})
        words["after"] = answer.header["next"]


ADAPTERS: Mapping[str, Adapter] = {
    "1.0": Adapter(
        requests={"migrate_state": _one_by_one("value"), "migrate_position": _one_by_one("position")},
        questions={"state.items": _all_items},
    )
}
"""Minor → what lets its guests be called as guests of the next one."""
