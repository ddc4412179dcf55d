"""Which addresses a request's domains let through, and which the conversation has named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from dragoman.translate.server_tools import ServerTool
from dragoman.wire.openai import ChatMessage, TextPart

_URL = re.compile(r"https?://[^\s<>\"'`\\^{}|]+", re.IGNORECASE)
# What ends a sentence or closes a bracket behind an address.
_TRAILING = ".,;:!?)]}>*_"


def is_allowed(url: str, tool: ServerTool) -> bool:
    """Whether a declaration's domains let an address through; where there are any, it has to have a host."""
    if tool.allowed_domains is None and not tool.blocked_domains:
        return True
    try:
        parts = urlsplit(url)
        host, path = _in_ascii((parts.hostname or "").rstrip(".")), parts.path.lower()
    except ValueError:
        return False
    if tool.allowed_domains is not None and not any(
        _lies_in(host, path, own) for own in tool.allowed_domains
    ):
        return False
    return bool(host) and not any(_lies_in(host, path, blocked) for blocked in tool.blocked_domains)


def _lies_in(host: str, path: str, domain: str) -> bool:
    """A domain is a host with all below it, and a path where there is one (`*` fits anything)."""
    name, slash, rest = domain.partition("/")
    name = _in_ascii(name)
    if host != name and not host.endswith(f".{name}"):
        return False
    return not slash or fnmatchcase(path, f"/{rest}*")


def _in_ascii(host: str) -> str:
    """A host as it is looked up, since it can be spelled in other letters too."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host


def was_named(url: str, messages: Iterable[ChatMessage]) -> bool:
    """Whether a user's turn or a tool's result names an address, but for what follows a `#`."""
    wanted = _plain(url)
    return any(_names(found, wanted) for text in _texts(messages) for found in _URL.findall(text))


def _names(found: str, wanted: str) -> bool:
    """Whether an address in a text is the wanted one, with or without the marks behind it.

    Texts come from anywhere: no more is compared than the two ends that may fit, however many marks follow.
    """
    if _plain(found) == wanted:
        return True
    least = len(found.rstrip(_TRAILING))
    ends = (end for end in (len(wanted), len(wanted) + 1) if least <= end < len(found))
    return any(_plain(found[:end]) == wanted for end in ends)


def _plain(url: str) -> str:
    return url.partition("#")[0].removesuffix("/")


def _texts(messages: Iterable[ChatMessage]) -> Iterator[str]:
    for message in messages:
        if message.role not in {"user", "tool"}:
            continue
        if isinstance(message.content, str):
            yield message.content
        else:
            yield from (part.text for part in message.content or () if isinstance(part, TextPart))
