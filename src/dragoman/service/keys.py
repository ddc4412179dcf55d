"""The keys that sign thinking: from the settings, or made once in the state folder."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path

from dragoman.errors import SettingsError
from dragoman.settings import Settings

FILE_NAME = "signature.key"
_BYTES = 32


def signature_keys(settings: Settings) -> list[bytes]:
    """The keys, 32 bytes each: the first one signs, all of them open.

    Raises `SettingsError` where there can be none.
    """
    if settings.signature_key:
        return _parsed(settings.signature_key, "signature_key")
    file = settings.state_path / FILE_NAME
    try:
        return _parsed(_read_or_make(file), str(file))
    except OSError as error:
        raise SettingsError(
            f"settings: the key that signs thinking cannot be kept in {file} ({error.strerror}); "
            "set state_dir to a folder that can be written, or signature_key"
        ) from error


def _read_or_make(file: Path) -> str:
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(file)
    return file.read_text(encoding="ascii", errors="replace")


def _make(file: Path) -> None:
    """Writes a new key beside its place and links it there: of two processes at once one wins, both read."""
    draft = file.with_name(f".{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(base64.b64encode(secrets.token_bytes(_BYTES)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _parsed(text: str, source: str) -> list[bytes]:
    keys = [_key(part.strip(), source) for part in text.replace("\n", ",").split(",") if part.strip()]
    if not keys:
        raise _not_a_key(source)
    return keys


def _key(text: str, source: str) -> bytes:
    for decode in (bytes.fromhex, lambda given: base64.b64decode(given, validate=True)):
        try:
            key = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(key) == _BYTES:
            return key
    raise _not_a_key(source)


def _not_a_key(source: str) -> SettingsError:
    return SettingsError(
        f"settings: {source} must hold keys of 32 bytes in hex or base64, separated by commas; "
        "`openssl rand -base64 32` makes one"
    )
