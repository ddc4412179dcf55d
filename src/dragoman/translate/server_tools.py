"""Tools that run on this server: how they are declared, and what the model is told of them."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import Raw

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.request import Tool, UserLocation
from dragoman.wire.openai import ChatTool, FunctionSpec

Kind = Literal["web_search", "web_fetch", "tool_search"]


class _Known(NamedTuple):
    """A tool that the API names: its kind, what the model reads about it, and its one argument."""

    kind: Kind
    description: str
    argument: str
    about: str

    @property
    def schema(self) -> Raw:
        """The schema of its arguments."""
        member = {self.argument: {"type": "string", "description": self.about}}
        return Raw(msgspec.json.encode({"type": "object", "properties": member, "required": [self.argument]}))


_KNOWN: dict[str, _Known] = {
    "web_search": _Known(
        "web_search",
        "Searches for pages. Gives their titles, addresses and what they say about the query. Use it for "
        "what may have changed, or what you do not know for sure; name the addresses an answer rests on.",
        "query",
        "What to search for: a few words, as for a search engine",
    ),
    "web_fetch": _Known(
        "web_fetch",
        "Reads the page at an address and gives its text. Only addresses that came up in the conversation "
        "can be read: those that the user wrote, or that a tool gave.",
        "url",
        "The whole address, with http:// or https://",
    ),
    "tool_search_tool_regex": _Known(
        "tool_search",
        "Finds further tools by a regular expression over their names, descriptions and arguments. The tools "
        "that it gives can be called from then on.",
        "query",
        "A Python regular expression; case does not matter",
    ),
    "tool_search_tool_bm25": _Known(
        "tool_search",
        "Finds further tools by words of their names, descriptions and arguments. The tools that it gives "
        "can be called from then on.",
        "query",
        "A few words that say what a tool should do",
    ),
}

# The types that a request may declare, and the name that each of them has.
_TYPES: dict[str, str] = {
    **dict.fromkeys(("web_search_20250305", "web_search_20260209", "web_search_20260318"), "web_search"),
    **dict.fromkeys(
        ("web_fetch_20250910", "web_fetch_20260209", "web_fetch_20260309", "web_fetch_20260318"), "web_fetch"
    ),
    **dict.fromkeys(("tool_search_tool_regex", "tool_search_tool_regex_20251119"), "tool_search_tool_regex"),
    **dict.fromkeys(("tool_search_tool_bm25", "tool_search_tool_bm25_20251119"), "tool_search_tool_bm25"),
}


class ChangingTools(Protocol):
    """The tools of a conversation as they change along it."""

    def load(self, name: str, path: str) -> str:
        """Makes a deferred tool callable; the text that says so."""

    @property
    def loaded(self) -> list[ChatTool]:
        """The tools that can be called though the prompt's head does not show them."""

    @property
    def removed(self) -> list[str]:
        """The names of those that it shows and that cannot be called."""


class ServerTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of this server as a request declares it.

    Domains are names, below which everything counts, with a path where one is given. max_content_tokens: of
    one page, about. citations: what is fetched may be cited.
    """

    name: str
    kind: Kind
    max_uses: int | None = None
    allowed_domains: tuple[str, ...] | None = None
    blocked_domains: tuple[str, ...] = ()
    user_location: UserLocation | None = None
    max_content_tokens: int | None = None
    citations: bool = False


class Declared(NamedTuple):
    """A tool as the engine sees it, and as it runs here."""

    chat: ChatTool
    tool: ServerTool


def server_tool(tool: Tool, path: str, available: frozenset[Kind]) -> Declared | None:
    """A tool of this server; None where it is none, or one that does not run here."""
    name = _TYPES.get(tool.type or "")
    if name is None or _KNOWN[name].kind not in available:
        return None
    known = _KNOWN[name]
    if tool.name not in {None, name}:
        raise InvalidRequestError(f"{path}.name: Input should be {name!r}")
    if tool.allowed_domains and tool.blocked_domains:
        raise InvalidRequestError(f"{path}: allowed_domains and blocked_domains cannot both be set")
    _check_sources(tool, path)
    function = FunctionSpec(
        name=name, description=known.description, parameters=known.schema, strict=tool.strict
    )
    allowed = tool.allowed_domains
    found = ServerTool(
        name=name,
        kind=known.kind,
        max_uses=tool.max_uses,
        allowed_domains=_domains(allowed, f"{path}.allowed_domains") if allowed else None,
        blocked_domains=_domains(tool.blocked_domains or [], f"{path}.blocked_domains"),
        user_location=tool.user_location,
        max_content_tokens=tool.max_content_tokens,
        citations=tool.citations is not None and tool.citations.enabled,
    )
    return Declared(ChatTool(function=function), found)


def _domains(domains: list[str], path: str) -> tuple[str, ...]:
    for number, domain in enumerate(domains):
        has_port = ":" in domain.partition("/")[0]
        if not domain.strip() or has_port or any(c.isspace() for c in domain):
            raise InvalidRequestError(
                f"{path}.{number}: Input should be a domain like 'example.com' or 'example.com/path'"
            )
    return tuple(domain.lower() for domain in domains)


def _check_sources(tool: Tool, path: str) -> None:
    """Which sources of addresses count cannot be chosen here; a limit must not be passed over."""
    for source, chosen in (tool.url_sources or {}).items():
        if not isinstance(chosen, dict) or chosen.get("type") != "all":
            raise InvalidRequestError(f"{path}.url_sources.{source}: only 'all' is available on this server")
