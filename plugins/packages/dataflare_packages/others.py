"""The wheels of other distributions that a project's pylocks name: for where there is no network."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dataflare.errors import ConfigError, Failed
from dataflare_author import whole
from dataflare_author.refusals import NotTrusted
from dataflare_packages.lockfile import Lock
from dataflare_packages.pylocks import FOLDER, check, file_of
from dataflare_packages.wheels import cache

if TYPE_CHECKING:
    from dataflare_worker.pylock import Wheel

CHUNK = 1 << 16
LARGEST = 1 << 32
SECONDS = 60.0


def named_by(lock: Lock, project: Path) -> dict[str, list[Wheel]]:
    """Plugin → the wheels that its pylock names. Raises ConfigError ``lock.pylock``."""
    from dataflare_worker.pylock import wheels_in

    check(lock, project)
    found = {}
    for plugin in sorted(lock.pylocks()):
        try:
            found[plugin] = wheels_in((project / file_of(plugin)).read_bytes())
        except ValueError as error:
            message, place = f"`{file_of(plugin)}` cannot be used", str(project / file_of(plugin))
            fix = "lock anew by `dataflare plugin upgrade`"
            raise ConfigError.of("lock.pylock", message, cause=str(error), file=place, fix=fix) from error
    return found


def others_of(lock: Lock, project: Path, *, everywhere: bool) -> list[Wheel]:
    """What the pylocks of a lock name: the wheels for this machine and this Python, or for ``everywhere``."""
    found = {each.name: each for wheels in named_by(lock, project).values() for each in wheels}
    return [found[name] for name in sorted(found) if everywhere or _fits(found[name])]


def fetched(wheel: Wheel, project: Path) -> Path:
    """A wheel, from this machine or from where it was found when it was locked; its digest decides.

    Raises ConfigError ``lock.no_wheel``, Failed ``lock.no_wheel``, NotTrusted ``lock.digest``.
    """
    from dataflare_worker.pylock import place_of

    if found := place_of(wheel, (project / ".dataflare" / "wheels", cache())):
        return found
    kept = cache() / wheel.sha256 / wheel.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as aside:
        digest = hashlib.sha256()
        for part in _content(wheel, project):
            digest.update(part)
            aside.write(part)
            if aside.tell() > LARGEST:
                break
        if digest.hexdigest() != wheel.sha256:
            raise NotTrusted.of(
                "lock.digest",
                f"`{wheel.name}` is not the wheel that was locked",
                cause=f"{wheel.address} has another digest",
                fix="what is installed stays; ask who keeps the index",
                details={"attack": "arbitrary_content"},
            )
        aside.seek(0)
        whole.write(kept, aside.read())
    return kept


def _content(wheel: Wheel, project: Path) -> Iterator[bytes]:
    place = urlsplit(wheel.address)
    if place.scheme in ("http", "https"):
        yield from _served(wheel)
        return
    file = Path(unquote(place.path)) if place.scheme == "file" else project / FOLDER / wheel.address
    try:
        with file.open("rb") as content:
            while part := content.read(CHUNK):
                yield part
    except OSError as error:
        message = f"`{wheel.name}` is not here any more"
        fix = "bring it back, or lock anew by `dataflare plugin upgrade`"
        raise ConfigError.of("lock.no_wheel", message, cause=str(error), fix=fix) from error


def _served(wheel: Wheel) -> Iterator[bytes]:
    import httpx

    try:
        # As uv does: by the user's proxies and netrc, and to wherever the index sends us, since the digest is known.
        with (
            httpx.Client(follow_redirects=True, timeout=SECONDS) as client,
            client.stream("GET", wheel.address) as answer,
        ):
            answer.raise_for_status()
            yield from answer.iter_raw(CHUNK)
    except httpx.HTTPError as error:
        message = f"`{wheel.name}` cannot be had from where it was locked"
        raise Failed.of("lock.no_wheel", message, cause=str(error), fix="look whether the index is in reach") from error


def _fits(wheel: Wheel) -> bool:
    from packaging.markers import Marker
    from packaging.tags import sys_tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        tags = parse_wheel_filename(wheel.name)[3]
    except InvalidWheelFilename:
        return True
    return (not wheel.marker or Marker(wheel.marker).evaluate()) and not tags.isdisjoint(sys_tags())
