"""Signatures of thinking blocks: what the model thought comes home exactly, on any replica, without a lookup.

A signature is base64 of: version (1 byte), key id (4 bytes), nonce (12 bytes), AES-256-GCM ciphertext with
the bytes before it as associated data. The plain text is one byte that says what follows: a keyed digest of
the thinking (the client holds the text), or the thinking itself, compressed (the client asked to have it
omitted).
"""

from __future__ import annotations

import binascii
import hashlib
import zlib
from collections.abc import Sequence
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
_KEY_ID_BYTES = 4
_HEAD_BYTES = 1 + _KEY_ID_BYTES + NONCE_BYTES
_VERSION = b"\x01"
_DIGEST = b"d"
_TEXT = b"t"
# Keeps the digest key apart from the same key's other use.
_DIGEST_PURPOSE = b"dragoman.think"


class OpenedThinking(msgspec.Struct, frozen=True):
    """A thinking block that came back: "ours" is exactly what the model thought, and `text` is that thought.

    "altered" is signed by us, but not for this text; "foreign" is not signed by us.
    In both cases `text` is the block's own.
    """

    kind: Literal["ours", "altered", "foreign"]
    text: str


class Signer:
    """Seals and opens thinking. `keys` are 32 bytes each: the first one signs, all of them open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a signer needs one key or more, each of 32 bytes")
        self._keys = [_Key(key) for key in keys]

    def seal(self, text: str, *, visible: bool, nonce: bytes) -> str:
        """The signature of a thought. `nonce` is 12 bytes from a random source, never used before."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError("a nonce has 12 bytes")
        key = self._keys[0]
        raw = text.encode()
        plain = _DIGEST + key.digest(raw) if visible else _TEXT + zlib.compress(raw)
        head = _VERSION + key.id + nonce
        return binascii.b2a_base64(head + key.cipher.encrypt(nonce, plain, head), newline=False).decode(
            "ascii"
        )

    def open(self, signature: str, thinking: str) -> OpenedThinking:
        """What a block with this signature and this text is. Never raises."""
        sealed = _decode(signature)
        head, body = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        keys = [key for key in self._keys if head.startswith(_VERSION + key.id)] if body else []
        if not keys:
            return OpenedThinking("foreign", thinking)
        for key in keys:
            opened = key.open(head, body, thinking)
            if opened is not None:
                return OpenedThinking("ours", opened)
        return OpenedThinking("altered", thinking)


class _Key:
    """One key with what is derived from it."""

    def __init__(self, key: bytes) -> None:
        self.id = hashlib.sha256(key).digest()[:_KEY_ID_BYTES]
        self.cipher = AESGCM(key)
        self._key = key

    def digest(self, raw: bytes) -> bytes:
        return hashlib.blake2b(raw, key=self._key, person=_DIGEST_PURPOSE, digest_size=32).digest()

    def open(self, head: bytes, body: bytes, thinking: str) -> str | None:
        """The thought, or None where the signature or the text beside it was changed."""
        try:
            plain = self.cipher.decrypt(head[-NONCE_BYTES:], body, head)
        except InvalidTag:
            return None
        kind, content = plain[:1], plain[1:]
        if kind == _DIGEST:
            return thinking if content == self.digest(_utf8(thinking)) else None
        thought = zlib.decompress(content).decode()
        return thought if thinking in ("", thought) else None


def _utf8(text: str) -> bytes:
    """The text's bytes; a lone surrogate, which no thought of ours holds, must not raise."""
    return text.encode(errors="surrogatepass")


def _decode(signature: str) -> bytes:
    try:
        return binascii.a2b_base64(signature.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
