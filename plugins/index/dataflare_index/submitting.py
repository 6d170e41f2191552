"""``plugin publish``: wheels are checked, signed by their author, and put into an index or sent to a served one."""

from __future__ import annotations

import io
import json
import tempfile
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
from dataflare_index.leaks import leaks
from dataflare_index.publishers import Submission, seal

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

Json = Any
PATH = "/publish"
SENT = "submission.json"
SECONDS = 120.0


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
        check_manifest(wheel, host)
        _check_leaks(wheel, seen)
    sent = submission(read, author, reports)
    if "://" in to:
        done = _send(read, to, sent, token)
    else:
        done = publishing.add(Path(to), [wheel.path for wheel in read], sent=sent)
    return {**done, "publisher": {"identity": author.identity, "keyid": author.keyid}}


def check_manifest(wheel: Wheel, host: HostApi | None = None) -> None:
    """Refuse a wheel with a wrong manifest, or with code that needs more than it asks for. Raises ConfigError.

    Without a host nothing looks at its code.
    """
    from dataflare_author.auditing import audit
    from dataflare_host.read_manifest import load_manifest

    with tempfile.TemporaryDirectory(prefix="dataflare-publish-") as folder:
        package = wheel.unpack(Path(folder))
        manifest = load_manifest(package / "dataflare.toml", package.name)
        if (manifest.id, manifest.version) != (wheel.names.id, wheel.version):
            message = f"`{wheel.path.name}` holds the manifest of `{manifest.id}` {manifest.version}"
            raise ConfigError.of("plugin.id_conflict", message, file=str(wheel.path), fix="build the wheel again")
        if host is not None and manifest.runtime not in ("python", "declarative"):
            audit(manifest, host)


def _check_leaks(wheel: Wheel, seen: Sequence[str]) -> None:
    found = [
        Problem(
            "publish.secret",
            f"`{leak.file}` has {leak.what} in line {leak.line}",
            file=str(wheel.path),
            fix=f"take it out, and have it changed if it was real; if it is none: --seen {leak.file}",
        )
        for leak in leaks(wheel.files, seen)
    ]
    if found:
        raise ConfigError(*found)


def submission(wheels: Sequence[Wheel], author: Author, reports: Iterable[Mapping[str, Json]] = ()) -> Submission:
    """What goes with wheels. Raises ConfigError ``publish.report``."""
    told: dict[str, Json] = {}
    versions = {wheel.names.id: wheel.version for wheel in wheels}
    for report in reports:
        name, version = report.get("plugin"), report.get("version")
        if versions.get(str(name)) != version or report.get("ok") is not True:
            cause = f"it is of {name} {version}, {'where all held' if report.get('ok') is True else 'and not all held'}"
            message = "a report of conformance does not speak for what is published"
            fix = "make it from what is published: `dataflare plugin verify WHEEL --json`"
            raise ConfigError.of("publish.report", message, cause=cause, fix=fix)
        told[str(name)] = {key: value for key, value in report.items() if key != "artifact"}  # the author's folders
    envelopes = {wheel.path.name: seal(wheel, author) for wheel in wheels}
    return Submission(author.identity, author.public, envelopes, author.successions, told)


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
    try:
        answer = httpx.post(
            to.rstrip("/") + PATH,
            content=packed.getvalue(),
            headers={"Content-Type": "application/zip"} | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=SECONDS,
            trust_env=False,
        )
        told = json.loads(answer.content)
    except (httpx.HTTPError, ValueError) as error:
        message = f"{to} did not take it"
        raise Failed.of(
            "publish.unreachable", message, cause=str(error), fix="look whether it takes uploads"
        ) from error
    if answer.status_code == 200:
        return dict(told)
    known = Problem.__dataclass_fields__
    problems = [Problem(**{key: each[key] for key in each if key in known}) for each in told["problems"]]
    raise (NotTrusted if told.get("exit_code") == NotTrusted.exit_code else ConfigError)(*problems)
