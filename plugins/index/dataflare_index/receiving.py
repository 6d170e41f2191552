"""Uploads to an index that is served: with a token, checked as when they are published, all or none."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflare.errors import ConfigError, DataflareError
from dataflare_author.archive import Archive, Hostile
from dataflare_author.refusals import NotTrusted
from dataflare_index import publishing
from dataflare_index.publishers import Submission
from dataflare_index.submitting import SENT

if TYPE_CHECKING:
    from dataflare_host.host import HostApi

Json = Any
LARGEST = 512 << 20
"""Bytes of an upload, and of what is in it."""
SMALL = 32 << 20
"""Bytes of what is said about its wheels."""
MOST = 100
"""Wheels of an upload."""


@dataclass(frozen=True)
class Receiver:
    """Takes uploads into an index. ``tokens``: digests of those that may; without any nobody may.

    ``host``: whose loaders look at the code that is sent.
    """

    index: Path
    tokens: frozenset[bytes]
    host: HostApi | None = None

    @classmethod
    def of(cls, index: Path, tokens: Path | None, host: HostApi | None = None) -> Receiver:
        """With the tokens of a file, one a line. Raises ConfigError ``publish.tokens``."""
        if tokens is None:
            return cls(index, frozenset(), host)
        try:
            if tokens.stat().st_mode & 0o077:
                raise PermissionError("others may read it")
            lines = [line.strip() for line in tokens.read_text("utf-8").splitlines()]
            given = [line for line in lines if line and not line.startswith("#")]
            if not given or min(map(len, given)) < 20:
                raise ValueError("it has no token, or one of fewer than 20 characters")
        except (OSError, ValueError) as error:
            message = f"{tokens} is no file of tokens"
            fix = "write a long random token a line, and let nobody else read the file (mode 0600)"
            raise ConfigError.of("publish.tokens", message, cause=str(error), fix=fix) from error
        return cls(index, frozenset(hashlib.sha256(line.encode()).digest() for line in given), host)

    def allows(self, header: str) -> bool:
        """May who sends this header publish?"""
        kind, _, token = header.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).digest()
        found = [hmac.compare_digest(digest, known) for known in self.tokens]
        return kind.lower() == "bearer" and any(found)

    def take(self, content: BufferedIOBase, length: int) -> tuple[int, Json]:
        """Publish what was sent: the status and the answer."""
        with tempfile.TemporaryDirectory(prefix="dataflare-receive-") as folder:
            try:
                return 200, self._publish(_stored(content, length, Path(folder)), Path(folder))
            except DataflareError as error:
                told = [problem.as_json() for problem in error.problems]
                return 422, {"problems": told, "exit_code": error.exit_code}

    def _publish(self, upload: Path, folder: Path) -> dict[str, Json]:
        sent, wheels = _unpacked(upload, folder)
        return publishing.add(self.index, wheels, sent=sent, claim=False, host=self.host)


def _stored(content: BufferedIOBase, length: int, folder: Path) -> Path:
    file = folder / "upload.zip"
    with file.open("wb") as out:
        while length > 0 and (part := content.read(min(length, 1 << 20))):
            out.write(part)
            length -= len(part)
    if length:
        raise _wrong("it ended too early")
    return file


def _unpacked(upload: Path, folder: Path) -> tuple[Submission, list[Path]]:
    try:
        with upload.open("rb") as content:
            archive = Archive(content, most=MOST + 1, largest=LARGEST)
            wheels = sorted({*archive.names()} - {SENT})
            if not wheels or not all(name.endswith(".whl") and "/" not in name and name[0] != "." for name in wheels):
                raise ValueError("it has other files than wheels, or none")
            if archive.size(SENT) > SMALL:
                raise ValueError(f"`{SENT}` has more than {SMALL:,} bytes")
            sent, found = Submission.read(archive.read(SENT)), [(name, archive.read(name)) for name in wheels]
    except Hostile as error:
        message, fix = "what was sent is made to do harm", "send it by `dataflare plugin publish`"
        details = {"attack": error.attack}
        raise NotTrusted.of("publish.submission", message, cause=str(error), fix=fix, details=details) from error
    except (OSError, ValueError, KeyError) as error:
        raise _wrong(str(error)) from error
    for name, wheel in found:
        (folder / name).write_bytes(wheel)
    return sent, [folder / name for name in wheels]


def _wrong(cause: str) -> ConfigError:
    return ConfigError.of("publish.submission", "what was sent is not what `plugin publish` sends", cause=cause)
