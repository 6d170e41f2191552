"""Reads an index as somebody who trusts only its root: every byte is checked against TUF's metadata."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    EqualVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from dataflare.errors import ConfigError, Failed
from dataflare_author.refusals import NotTrusted
from dataflare_index.clock import Clock
from dataflare_index.searching import FILE, lines_in

CHUNK = 1 << 16
LARGEST = 8 << 20
"""Bytes of one file of metadata."""
LARGEST_FILE = 1 << 30
"""Bytes of one file that a lock names."""
SPARE = 1 << 20
"""Bytes that a file is read on for beyond its length: what ends there is another file, not an endless one."""
SECONDS = 30.0
SLOWEST = 1000
"""Bytes a second that an index gives at least, after its first ``SECONDS``."""
Json = Any
ATTACKS: tuple[tuple[type[Exception], str], ...] = (
    (ExpiredMetadataError, "freeze"),
    (EqualVersionNumberError, "rollback"),
    (BadVersionNumberError, "rollback"),
    (UnsignedMetadataError, "wrong_key"),
    (DownloadLengthMismatchError, "endless_data"),
    (LengthOrHashMismatchError, "arbitrary_content"),
    (RepositoryError, "arbitrary_content"),
)
"""What each refusal would be a sign of."""
MIXED = re.compile(r"Expected (?!root )")
"""How refusals begin of parts that never were in one snapshot; what is only old begins otherwise."""


class Client:
    """An index, a folder or an address, read by its root.

    ``cache`` keeps the metadata seen last: an index that goes back behind it is refused.
    """

    def __init__(self, place: str, root: bytes, cache: Path) -> None:
        base = place if "://" in place else Path(place).absolute().as_uri()
        self._base = base.rstrip("/") + "/"
        self._root = root
        self._cache = cache
        self._clock = Clock(cache)
        self._fetcher = _Files() if self._base.startswith("file:") else _Web()
        self._updaters: dict[bool, Updater] = {}

    def names(self) -> list[str]:
        """The plugins."""
        return sorted(path[10:-5] for path in self.targets() if path.startswith("catalogue/"))

    def targets(self) -> list[str]:
        """The paths of everything that is signed."""
        updater: Any = self._updater(True)
        with _told(self._base):
            top: Any = updater._trusted_set["targets"]
            found: list[str] = []
            for role in top.delegations.succinct_roles.get_roles():
                found += updater._load_targets(role, "targets").targets
        return sorted(found)

    def plugin(self, name: str) -> Json:
        """What the catalogue says of a plugin. Raises ConfigError ``index.unknown``, Failed ``index.…``."""
        path = f"catalogue/{name}.json"
        try:
            return json.loads(self.file(path, self._cache / "catalogue" / f"{name}.json").read_bytes())
        except (ValueError, RecursionError) as error:
            message = f"what the index says of `{name}` is not JSON"
            raise ConfigError.of("index.catalogue", message, cause=str(error)) from error

    def search(self) -> dict[str, Json]:
        """What the index is searched by: plugin → line. Raises ConfigError ``index.catalogue``, Failed ``index.…``."""
        try:
            return lines_in(self.file(FILE, self._cache / FILE).read_bytes())
        except ConfigError as error:
            if error.code == "index.unknown":  # nothing was ever published
                return {}
            raise

    def file(self, path: str, to: Path) -> Path:
        """A file of the index, checked. Raises ConfigError ``index.unknown``, Failed ``index.…``."""
        updater = self._updater(_named_by_digest(path))
        with _told(self._base):
            info = updater.get_targetinfo(path)
            if info is None:
                raise ConfigError.of("index.unknown", f"the index has no `{path}`")
            to.parent.mkdir(parents=True, exist_ok=True)
            kept = updater.find_cached_target(info, str(to))
            return Path(kept or updater.download_target(info, str(to)))

    def locked(self, path: str, sha256: str, to: Path, size: int = 0) -> Path:
        """A file whose digest is known: whatever the index says. Raises NotTrusted ``index.not_trusted``.

        ``size``: its bytes, where they are known too.
        """
        longest = size + SPARE if size else LARGEST_FILE
        digest = hashlib.sha256()
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=to.parent, prefix=".", delete=False) as aside:
            file = Path(aside.name)
            try:
                with _told(self._base):
                    for part in self._fetcher.fetch(self._base + path):
                        digest.update(part)
                        if aside.tell() + len(part) > longest:
                            raise DownloadLengthMismatchError(f"{path} is longer than {longest:,} bytes")
                        aside.write(part)
                    if digest.hexdigest() != sha256:
                        raise LengthOrHashMismatchError(f"{path} is not what was locked")
                aside.flush()
                file.replace(to)
            finally:
                file.unlink(missing_ok=True)
        return to

    def snapshot(self) -> int:
        """The number of the snapshot that is read."""
        return int(self._updater(True)._trusted_set.snapshot.version)

    def now(self) -> datetime:
        """How late it is: by the clock, or by what the index signed, if that is later."""
        time: datetime = self._updater(True)._trusted_set.reference_time
        return time

    def metadata_names(self) -> list[str]:
        """The files of metadata that the snapshot in use speaks of, the timestamp last."""
        trusted: Any = self._updater(True)._trusted_set
        roots = [f"{number}.root.json" for number in range(1, trusted.root.version + 1)]
        held = [f"{meta.version}.{name}" for name, meta in sorted(trusted.snapshot.meta.items())]
        return [*roots, *held, f"{trusted.snapshot.version}.snapshot.json", "timestamp.json"]

    def address(self) -> str:
        """Where it is, as an URL that ends with a slash."""
        return self._base

    def raw(self, path: str) -> bytes:
        """A file as it is there, unchecked: of metadata, which whoever reads it checks."""
        with _told(self._base):
            return self._fetcher.download_bytes(self._base + path, LARGEST)

    def _updater(self, prefixed: bool) -> Updater:
        if prefixed not in self._updaters:
            folder = self._cache / "metadata"
            folder.mkdir(parents=True, exist_ok=True)
            with _told(self._base):
                made = Updater(
                    str(folder),
                    self._base + "metadata/",
                    str(self._cache),
                    self._base,
                    self._fetcher,
                    UpdaterConfig(prefix_targets_with_hash=prefixed),
                    bootstrap=self._root,
                )
                # As `refresh` does it, with our time from the root on.
                made._load_root()
                self._clock.set(made)
                made._load_timestamp()
                made._load_snapshot()
                made._load_targets("targets", "root")
                self._clock.saw(made)
            self._updaters[prefixed] = made
        return self._updaters[prefixed]


def _named_by_digest(path: str) -> bool:
    """Is a file also there under a name with its digest? What changes is: a reader never meets it half changed."""
    folder, _, name = path.rpartition("/")
    return path == FILE or folder == "catalogue" or (folder == "others" and name.endswith(".json"))


def attack_of(error: Exception) -> str | None:
    """What a refusal of TUF's would be a sign of; None for what nobody did on purpose."""
    if isinstance(error, BadVersionNumberError) and MIXED.match(str(error)):
        return "mix_and_match"
    if "missing info" in str(error):
        return "rollback"
    return next((name for known, name in ATTACKS if isinstance(error, known)), None)


class _told:
    """What TUF refuses, said in our words: with the attack that it would be a sign of."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (RepositoryError, DownloadError)):
            attack = attack_of(error)
            code = "index.unreachable" if isinstance(error, DownloadError) and attack is None else "index.not_trusted"
            what = (
                f"{self._place} cannot be trusted" if code == "index.not_trusted" else f"{self._place} cannot be read"
            )
            fix = "what is installed stays; ask who keeps the index" if attack else "look whether it is there"
            if attack == "freeze":
                what = f"what {self._place} says has expired: nothing new is taken from it"
                fix = "what is locked stays installable; ask its keepers to sign anew, and look at this machine's clock"
            raise (NotTrusted if code == "index.not_trusted" else Failed).of(
                code,
                what,
                cause=str(error),
                fix=fix,
                details={"attack": attack},
            ) from error


def fetched(place: str, path: str, longest: int = LARGEST) -> bytes:
    """A file of an index as it is there, unchecked. Raises Failed ``index.unreachable``, NotTrusted."""
    base = (place if "://" in place else Path(place).absolute().as_uri()).rstrip("/")
    fetcher: FetcherInterface = _Files() if base.startswith("file:") else _Web()
    with _told(base):
        return fetcher.download_bytes(f"{base}/{path}", longest)


def fetched_to(address: str, to: Path) -> None:
    """Write what is at an address into a file, unchecked. Raises Failed ``index.unreachable``, NotTrusted."""
    fetcher: FetcherInterface = _Files() if address.startswith("file:") else _Web()
    with _told(address), to.open("wb") as out:
        for part in fetcher.fetch(address.partition("#")[0]):
            if out.tell() + len(part) > LARGEST_FILE:
                raise DownloadLengthMismatchError(f"it is longer than {LARGEST_FILE:,} bytes")
            out.write(part)


class _Files(FetcherInterface):
    """Fetches from a folder."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = Path(unquote(urlsplit(url).path))
        try:
            with file.open("rb") as content:
                while part := content.read(CHUNK):
                    yield part
        except (FileNotFoundError, IsADirectoryError) as error:
            raise DownloadHTTPError(f"there is no {file}", 404) from error


class _Web(FetcherInterface):
    """Fetches over HTTP: no redirects, no proxies, bounded in time, and no slower than ``SLOWEST``."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        import httpx

        begun, got = monotonic(), 0
        try:
            with (
                httpx.Client(trust_env=False, timeout=SECONDS, headers={"Accept-Encoding": "identity"}) as client,
                client.stream("GET", quote(url, safe=":/%?=&")) as answer,
            ):
                if answer.status_code != 200:
                    raise DownloadHTTPError(f"{url} answers {answer.status_code}", answer.status_code)
                for part in answer.iter_raw():
                    got += len(part)
                    if monotonic() - begun > SECONDS + got / SLOWEST:
                        raise DownloadError(f"{url} gives less than {SLOWEST:,} bytes a second")
                    yield part
        except httpx.HTTPError as error:
            raise DownloadError(f"{url}: {error}") from error
