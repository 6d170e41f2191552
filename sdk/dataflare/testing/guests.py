"""Components called through the guest protocol, in this process: what a worker or a sandbox would see of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dataflare.guest import Frame, Guest
from dataflare.hosting import Guests, Limits, component_classes

if TYPE_CHECKING:
    from dataflare.component import Component
    from dataflare.hosting.transport import Answering

Json = Any


class InProcess:
    """A ``Transport`` to a guest in this process; frames cross as bytes."""

    def __init__(self, components: Iterable[type[Component]]) -> None:
        self._answering: Answering | None = None
        self._guest = Guest(components, self._ask)

    def call(self, request: Frame, answering: Answering, seconds: float) -> Frame:
        """The guest's answer."""
        self._answering = answering
        return Frame.unpack(self._guest.answer(request.pack()))

    def close(self) -> None:
        """Close what is open."""
        self._guest.end()

    def _ask(self, question: Frame) -> Frame:
        assert self._answering is not None
        return Frame.unpack(self._answering(Frame.unpack(question.pack())).pack())


def as_guests(
    components: Iterable[type[Component]], *, encodings: Iterable[str] = ("arrow", "json"), plugin: str = "guest"
) -> dict[str, type[Component]]:
    """The components as a host sees them where they are guests, by ``kind:name``; rows cross in the first encoding."""
    listed = list(components)
    described = Guest(listed).handle(Frame({"op": "describe"})).header
    told: Mapping[str, Json] = {**described, "encodings": list(encodings)}
    made = component_classes(told, Guests(lambda: InProcess(listed)), Limits(), plugin)
    return {f"{each.kind}:{each.spec.name}": each for each in made}
