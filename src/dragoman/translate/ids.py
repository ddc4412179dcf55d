"""Tool call ids: ours carry the engine's own, so that nothing has to be looked up when they come home.

One of ours is `toolu_`, or `srvtoolu_` for a call that runs on this server, then
twelve characters that stand for the message, `_`, the call's number in the message
and, where the engine gave an id, `_` and that id with every character outside `[A-Za-z0-9_]` escaped: `-` is
`--`, any other byte of its UTF-8 is `-` and two hexadecimal digits. The message's part keeps ids apart when
an engine says `call_0` in every turn.
"""

from __future__ import annotations

import hashlib
import re

_PREFIX = "toolu_"
_SERVER = "srv"
_OURS = re.compile(r"(?:srv)?toolu_[0-9a-f]{12}_[0-9]+_([A-Za-z0-9_-]+)", re.ASCII)
_UNSAFE = re.compile(rb"[^A-Za-z0-9_]")
_ESCAPED = re.compile(rb"-(-|[0-9a-f]{2})")


def call_id_out(engine_id: str | None, message_id: str, n: int, *, on_server: bool = False) -> str:
    """The id that the client sees for call number `n` of a message.

    Matches `^[a-zA-Z0-9_-]+$` and differs between the calls of one message and between messages.
    """
    place = hashlib.blake2b(message_id.encode(), digest_size=6).hexdigest()
    own = f"{_SERVER if on_server else ''}{_PREFIX}{place}_{n}"
    return f"{own}_{_escape(engine_id)}" if engine_id else own


def call_id_in(our_id: str) -> str:
    """The engine's own id out of one of ours.

    Any other id comes back unchanged, and so does one of ours for a call to which the engine gave no id.
    """
    found = _OURS.fullmatch(our_id)
    if found is None:
        return our_id
    engine_id = _unescape(found[1])
    return our_id if engine_id is None else engine_id


def _escape(engine_id: str) -> str:
    return _UNSAFE.sub(_escape_byte, engine_id.encode()).decode("ascii")


def _escape_byte(found: re.Match[bytes]) -> bytes:
    byte = found[0]
    return b"--" if byte == b"-" else b"-%02x" % byte[0]


def _unescape(escaped: str) -> str | None:
    """The reverse of `_escape`; None for text that `_escape` never writes."""
    raw = _ESCAPED.sub(_unescape_byte, escaped.encode("ascii"))
    try:
        engine_id = raw.decode()
    except UnicodeDecodeError:
        return None
    return engine_id if _escape(engine_id) == escaped else None


def _unescape_byte(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return b"-" if code == b"-" else bytes.fromhex(code.decode("ascii"))
