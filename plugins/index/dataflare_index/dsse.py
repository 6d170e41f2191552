"""Signed envelopes (DSSE): some bytes of a kind, and an Ed25519 signature over both."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

LARGEST = 1 << 20
"""Bytes of an envelope that somebody else made."""


class NotSigned(ValueError):
    """An envelope that is none of the keys', or of another kind. ``attack``: what it would be a sign of."""

    def __init__(self, cause: str, attack: str) -> None:
        super().__init__(cause)
        self.attack = attack


def sign(payload: bytes, kind: str, signer: CryptoSigner) -> bytes:
    """An envelope, as JSON: the same bytes for the same key and payload."""
    envelope = Envelope(payload, kind, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), sort_keys=True).encode()


def opened(envelope: bytes, kind: str, keys: Iterable[SSlibKey]) -> bytes:
    """The payload of an envelope that one of the keys signed. Raises NotSigned."""
    if not envelope:
        raise NotSigned("nobody signed it", "unsigned")
    try:
        if len(envelope) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        found = Envelope.from_dict(json.loads(envelope))
        found.verify(list(keys), 1)
    except (VerificationError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotSigned(f"it is signed by another key, or not at all: {error}", "wrong_key") from error
    if found.payload_type != kind:
        raise NotSigned(f"a {found.payload_type} was signed, not a {kind}", "arbitrary_content")
    return bytes(found.payload)


def read_private(file: Path) -> CryptoSigner:
    """An Ed25519 key in PEM. Raises ValueError, OSError."""
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is no Ed25519 key")
    return CryptoSigner(key)


def public_of_pem(text: str) -> SSlibKey:
    """A public Ed25519 key in PEM. Raises ValueError."""
    key = load_pem_public_key(text.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is no Ed25519 key")
    return SSlibKey.from_crypto(key)


def public_of(text: str) -> SSlibKey:
    """A public Ed25519 key as 64 hexadecimal digits; its id follows from it. Raises ValueError."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(text)))


def text_of(signer: CryptoSigner) -> str:
    """The public key as 64 hexadecimal digits."""
    return str(signer.public_key.keyval["public"])
