"""``plugin publish``: wheels are checked, signed by their author, and put into an index or sent to a served one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dataflare.errors import ConfigError, Failed, Problem
from dataflare_author.refusals import NotTrusted
from dataflare_author.wheel_check import Wheel, read_wheel
from dataflare_index import publishing
from dataflare_index.authors import Author
from dataflare_index.publishers import Submission, check_report, seal
from dataflare_index.soundness import check

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

Json = Any
PATH = "/publish"
SENT = "submission.json"
SECONDS = 120.0
LONGEST = 1 << 20
"""Bytes of what an index answers."""


def publish(
    wheels: Iterable[Path],
    to: str,
    author: Author,
    host: HostApi,
    *,
    token: str = "",
    reports: Iterable[Mapping[str, Json]] = (),
    seen: Sequence[str] = (),
) -> dict[str, Json]:
    """Check, sign and publish wheels; ``{"added", "known", "snapshot", "publisher"}``.

    ``reports``: of their conformance; ``seen``: files that look like secrets and are none.

    Raises ConfigError ``publish.…``, ``index.…``, what their loaders refuse; NotTrusted ``index.publisher``.
    """
    read = [read_wheel(path) for path in wheels]
    for wheel in read:
        check(wheel, host, seen)
    sent = submission(read, author, reports, seen)
    if "://" in to:
        done = _send(read, to, sent, token)
    else:
        done = publishing.add(Path(to), [wheel.path for wheel in read], sent=sent)
    return {**done, "publisher": {"identity": author.identity, "keyid": author.keyid}}


def submission(
    wheels: Sequence[Wheel], author: Author, reports: Iterable[Mapping[str, Json]] = (), seen: Sequence[str] = ()
) -> Submission:
    """What goes with wheels. Raises ConfigError ``publish.report``."""
    told: dict[str, Json] = {}
    versions = {wheel.names.id: wheel.version for wheel in wheels}
    for report in reports:
        name = str(report.get("plugin"))
        check_report(report, name, versions.get(name, ""))
        told[name] = {key: value for key, value in report.items() if key != "artifact"}  # the author's folders
    envelopes = {wheel.path.name: seal(wheel, author) for wheel in wheels}
    return Submission(author.identity, author.public, envelopes, author.successions, told, tuple(seen))


def _send(wheels: Sequence[Wheel], to: str, sent: Submission, token: str) -> dict[str, Json]:
    import httpx

    parts = urlsplit(to)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        message = f"a token is not sent to {to} in the clear"
        raise ConfigError.of("publish.place", message, fix="name an address that begins with https://")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(SENT, sent.content())
        for wheel in wheels:
            archive.write(wheel.path, wheel.path.name)
    headers = {"Content-Type": "application/zip"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with (
            httpx.Client(trust_env=False, timeout=SECONDS) as client,
            client.stream("POST", to.rstrip("/") + PATH, content=packed.getvalue(), headers=headers) as answer,
        ):
            told = json.loads(_short(answer.iter_bytes()))
        if answer.status_code == 200:
            return dict(told)
        problems = [Problem.from_json(each) for each in told["problems"]]
        refused = NotTrusted if told.get("exit_code") == NotTrusted.exit_code else ConfigError
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{to} did not take it"
        raise Failed.of(
            "publish.unreachable", message, cause=str(error), fix="look whether it takes uploads"
        ) from error
    raise refused(*problems)


def _short(parts: Iterable[bytes]) -> bytes:
    """An answer, which is never long. Raises ValueError."""
    found = b""
    for part in parts:
        found += part
        if len(found) > LONGEST:
            raise ValueError(f"it answers with more than {LONGEST:,} bytes")
    return found
