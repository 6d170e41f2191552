"""What stands in for the host around a component: what its example gives, within what its manifest asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dataflare import PermissionDenied
from dataflare.context import Context, NotGranted
from dataflare.errors import Failed
from dataflare.grants import Grants, allows
from dataflare.http import Http, Response
from dataflare.testing.surroundings import context

if TYPE_CHECKING:
    from dataflare_verify.examples import Answered, Example


@dataclass
class Surroundings:
    """Makes the Context of each instance of one component, and remembers what was asked of the outside.

    ``granted`` false: everything is refused, as where an operator granted nothing.
    """

    example: Example
    permissions: Grants
    base: Path = field(default_factory=Path)
    """The folder that the example was prepared in."""
    granted: bool = True
    used: list[str] = field(default_factory=list)
    """Each use of the outside: ``http``, ``secrets``, ``inputs``."""

    def __call__(self, cache: Path) -> Context:
        """The surroundings of an instance with this cache folder."""
        given: dict[str, Any] = {"http": NotGranted("http"), "secrets": NotGranted("secrets"), "inputs": None}
        if self.granted:
            given = {"http": _Answers(self), "secrets": _Secrets(self), "inputs": self._input}
        return context(cache, base=self.base, **given)

    @property
    def needed(self) -> bool:
        """Whether the example gives anything from the outside."""
        return bool(self.example.http or self.example.secrets or self.example.inputs)

    def need(self, word: str, **wanted: str) -> None:
        """Note a use. Raises PermissionDenied where the manifest does not ask for it."""
        self.used.append(word)
        if not allows(self.permissions, word, **wanted):
            told = ", ".join(f"{key} `{value}`" for key, value in wanted.items())
            raise PermissionDenied.of(
                "permission.denied",
                f"`{word}` is not granted for {told}",
                cause="the manifest does not ask for it",
                fix=f"add it to `{word}` in the manifest's [permissions], with a reason",
            )

    def _input(self, name: str) -> _Input:
        self.need("inputs", name=name)
        if name not in self.example.inputs:
            raise Failed.of("verify.no_input", f"the example gives nothing for the input `{name}`")
        return _Input(self.example.inputs[name].encode())


@dataclass
class _Secrets:
    around: Surroundings

    def get(self, name: str) -> str:
        self.around.need("secrets", name=name)
        if name not in self.around.example.secrets:
            raise Failed.of("verify.no_secret", f"the example gives no secret `{name}`")
        return self.around.example.secrets[name]


class _Answers(Http):
    """The broker's other side: the answers of the example, by method and URL."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None) -> Response:
        self._around.need("http", host=urlsplit(url).hostname or "", methods=method)
        known = self._around.example.http
        found = next((one for one in known if _fits(one, method, url, body)), None)
        if found is None:
            have = ", ".join(f"{one.method} {one.url}" for one in known) or "none"
            cause, fix = f"its answers: {have}", "add one under `http`"
            raise Failed.of("verify.no_answer", f"the example has no answer for {method} {url}", cause=cause, fix=fix)
        told = {name.lower(): value for name, value in found.headers.items()}
        return Response(found.status, told, found.body.encode())


def _fits(answer: Answered, method: str, url: str, body: bytes) -> bool:
    """The URL as it stands there, or the same without its query where the example's has none."""
    if answer.when.encode() not in body:
        return False
    bare = url.partition("?")[0]
    return answer.method.upper() == method and answer.url in ((url,) if "?" in answer.url else (url, bare))


class _Input:
    """A host-owned input that gives its bytes, then ends."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    @property
    def ended(self) -> bool:
        return not self._left

    def recv(self, max: int, wait: float) -> bytes:
        given, self._left = self._left[:max], self._left[max:]
        return given

    def close(self) -> None:
        self._left = b""
