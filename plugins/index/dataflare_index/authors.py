"""The keys that an author signs releases with: in the configuration folder of the user, readable by nobody else."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer._crypto_signer import CryptoSigner

from dataflare.errors import ConfigError
from dataflare_author import whole
from dataflare_index.dsse import opened, public_of, read_private, sign, text_of
from dataflare_index.signing import put

Json = Any
SUCCESSION = "application/vnd.dataflare.key+json"
USUAL = "main"


@dataclass(frozen=True)
class Author:
    """Somebody who publishes. ``successions``: envelopes by which each former key named the one after it."""

    name: str
    identity: str
    signer: CryptoSigner
    successions: tuple[Json, ...] = ()

    @property
    def keyid(self) -> str:
        """The id of the key, which follows from it."""
        return str(self.signer.public_key.keyid)

    @property
    def public(self) -> str:
        """The public key as hexadecimal digits."""
        return text_of(self.signer)


def folder() -> Path:
    """Below ``$XDG_CONFIG_HOME``, or ``~/.config``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "dataflare", "keys").absolute()


def new(identity: str, name: str = USUAL) -> Author:
    """Make a key. Raises ConfigError ``publish.key_exists``, ``publish.identity``."""
    if not is_identity(identity):
        message = "an identity is a line of text that users will know the author by"
        raise ConfigError.of("publish.identity", message, fix='write `--identity "Ada <ada@example.org>"`')
    file = _file(name)
    if file.exists():
        message = f"there is a key `{name}` already"
        fix = "give the new one a --name, or let it take the old one's place: `dataflare plugin keys rotate`"
        raise ConfigError.of("publish.key_exists", message, file=str(file), fix=fix)
    author = Author(name, identity.strip(), CryptoSigner.generate_ed25519())
    _write(author)
    return author


def is_identity(text: object) -> bool:
    """Can users know an author by this: a line of text that is not long?"""
    return isinstance(text, str) and bool(text.strip()) and text.isprintable() and len(text) <= 200


def rotate(name: str = USUAL) -> Author:
    """Make a key that the present one names as its successor; the former file is kept. Raises ConfigError."""
    former = read(name)
    signer = CryptoSigner.generate_ed25519()
    told = {"identity": former.identity, "from": former.keyid, "to": signer.public_key.keyid, "public": text_of(signer)}
    envelope = json.loads(sign(json.dumps(told, sort_keys=True).encode(), SUCCESSION, former.signer))
    author = Author(name, former.identity, signer, (*former.successions, {"public": former.public, **envelope}))
    file = _file(name)
    os.link(file, file.with_name(f"{name}.{former.keyid[:12]}.former"))
    _write(author)
    return author


def read(name: str = USUAL) -> Author:
    """A key of this user. Raises ConfigError ``publish.key``."""
    file = _file(name)
    try:
        told = json.loads(file.with_suffix(".json").read_text("utf-8"))
        author = Author(name, str(told["identity"]), read_private(file), tuple(told["successions"]))
        if told["keyid"] == author.keyid:
            return author
        # A rotation that was cut off wrote the new key already, and not yet whose it is.
        following = json.loads(file.with_suffix(".next.json").read_text("utf-8"))
        if following["keyid"] == author.keyid:
            put(file.with_suffix(".json"), json.dumps(following, indent=1).encode())
            return read(name)
        cause = "the key is not the one that is written beside it"
    except FileNotFoundError as error:
        message = f"there is no key `{name}` to sign with"
        raise ConfigError.of("publish.key", message, cause=str(error), fix="`dataflare plugin keys new`") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = str(error)
    message = f"the key `{name}` cannot be read"
    raise ConfigError.of("publish.key", message, cause=cause, file=str(file), fix="bring it back from a backup")


def names() -> list[str]:
    """The keys of this user."""
    return sorted(file.stem for file in folder().glob("*.pem"))


def succeeds(entry: Json, keyid: str) -> tuple[str, str]:
    """The key that named this one its successor, and its public half. Raises NotSigned, ValueError, KeyError."""
    former = public_of(entry["public"])
    envelope = {key: entry[key] for key in ("payload", "payloadType", "signatures")}
    told = json.loads(opened(json.dumps(envelope).encode(), SUCCESSION, [former]))
    if told["to"] != keyid or told["from"] != former.keyid or public_of(told["public"]).keyid != keyid:
        raise ValueError("the envelope names other keys")
    return str(former.keyid), str(entry["public"])


def _file(name: str) -> Path:
    if not name.replace("-", "").replace("_", "").isalnum():
        message = f"`{name}` is no name of a key"
        raise ConfigError.of("publish.key", message, fix="letters, digits, hyphens and underscores")
    return folder() / f"{name}.pem"


def _write(author: Author) -> None:
    file = _file(author.name)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = {"identity": author.identity, "keyid": author.keyid, "successions": list(author.successions)}
    content = (json.dumps(told, indent=1) + "\n").encode()
    put(file.with_suffix(".next.json"), content)
    whole.write(file, author.signer.private_bytes, 0o600)
    put(file.with_suffix(".json"), content)
    file.with_suffix(".next.json").unlink()
