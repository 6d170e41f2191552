"""The layer that encrypts: AES-256-GCM under data keys, which a keyring wraps (envelope encryption).

Every writer makes a data key of its own, so that no two ever use one key with the same random nonce; it is renewed
after a time or many seals. The id of the wrapping key and the wrapped data key stand before each content, so whoever
has the keyring can read it, wherever it lies. A rotation needs no pause: new data keys are wrapped by the keyring's
newest key, older content stays readable as long as the keyring holds its key.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from dataflare import Duration, Uses, field
from dataflare.component import Keyring
from dataflare.context import Context
from dataflare.errors import StateError
from dataflare.store import Layer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12
SEALS = 1 << 24
"""So many times one data key seals at most: far below what random nonces allow (2^32)."""
CACHED = 256


class AesGcm(Layer, name="aes-gcm"):
    """Encrypts what a store keeps with AES-256-GCM; content that was changed or moved does not open."""

    keyring: Uses[Keyring] = field(help="Where the keys come from, such as `state/keyring-file`.")
    renew: Duration = field(
        default=3600.0, help="How long a data key is used; then the keyring's newest key is asked for.", advanced=True
    )

    _ring: Keyring
    _lock: threading.Lock
    _writing: tuple[bytes, AESGCM, float] | None
    _left: int
    _reading: dict[bytes, AESGCM]

    def open(self, ctx: Context) -> None:
        """Open the keyring. Raises StateError where its keys cannot be read."""
        self._ring, self._lock = self.keyring.get(), threading.Lock()
        self._writing, self._left, self._reading = None, 0, {}
        self._ring.open(ctx)
        self._ring.current()

    def close(self) -> None:
        """Close the keyring."""
        self._ring.close()

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Encrypted, with what is needed to decrypt it by the keyring in front."""
        head, cipher = self._writer()
        nonce = os.urandom(NONCE)
        return head + nonce + cipher.encrypt(nonce, data, head + place)

    def unseal(self, data: bytes, place: bytes) -> bytes:
        """Decrypted. Raises StateError: the key is missing or wrong, the content was changed or moved."""
        from cryptography.exceptions import InvalidTag

        key_id, wrapped, head = _parts(data)
        rest = data[len(head) :]
        try:
            return self._reader(head, key_id, wrapped).decrypt(rest[:NONCE], rest[NONCE:], head + place)
        except InvalidTag as error:
            raise StateError.of(
                "state.corrupt", f"content under the key `{key_id}` does not open: it was changed or moved"
            ) from error

    def keys(self, data: bytes) -> list[str]:
        """The id of the wrapping key."""
        return [_parts(data)[0]]

    def _writer(self) -> tuple[bytes, AESGCM]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        with self._lock:
            if self._writing is None or self._left <= 0 or time.monotonic() >= self._writing[2]:
                data_key, key_id = os.urandom(32), self._ring.current()
                wrapped, name = self._ring.wrap(key_id, data_key), key_id.encode()
                head = bytes([len(name)]) + name + len(wrapped).to_bytes(2, "big") + wrapped
                self._writing, self._left = (head, AESGCM(data_key), time.monotonic() + self.renew), SEALS
            self._left -= 1
            return self._writing[:2]

    def _reader(self, head: bytes, key_id: str, wrapped: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        with self._lock:
            cipher: Any = self._reading.get(head)
            if cipher is None:
                cipher = AESGCM(self._ring.unwrap(key_id, wrapped))
                if len(self._reading) >= CACHED:
                    self._reading.clear()
                self._reading[head] = cipher
            return cipher  # type: ignore[no-any-return]


def _parts(data: bytes) -> tuple[str, bytes, bytes]:
    """Key id, wrapped data key, and the whole head. Raises StateError for what is not encrypted."""
    named = 1 + data[0] if data else 0
    size = int.from_bytes(data[named : named + 2], "big")
    end = named + 2 + size
    if not data or len(data) < end + NONCE:
        raise StateError.of("state.corrupt", "the content is not encrypted")
    return data[1:named].decode("utf-8", "replace"), data[named + 2 : end], data[:end]
