"""What becomes of each part of a request on each engine: one request with it and one without are written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from dragoman.engines.dialects import DIALECTS
from dragoman.errors import InvalidRequestError
from dragoman.translate.request import to_chat
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.capabilities import EngineCapabilities
from tests.oracle.players import MODEL, able
from tests.support.preparing import prepared
from tests.support.translation import body, options

# The engines of the columns, by dialect.
ENGINES = {
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "ollama": "Ollama",
    "transformers": "transformers",
    "generic": "generic",
}
# The version of the API in which everything that there ever was is legal, and all that a server can run.
OLDER = "2023-06-01"
SERVER_TOOLS = frozenset({"web_search", "web_fetch", "tool_search"})
REFUSED = "refused"
NOT_SENT = "not sent"
HERE = "done here"


class Wire(msgspec.Struct, frozen=True):
    """What an engine is sent: the members of the body, and whether stop strings are matched on our side."""

    members: dict[str, Any]
    matches_here: bool


@cache
def capabilities(engine: str) -> EngineCapabilities:
    """What an engine of that kind can do with a capable model."""
    return able(engine)


def sent(engine: str, fields: Mapping[str, Any]) -> Wire:
    """What a request with these fields becomes; raises `InvalidRequestError` where it is refused."""
    given = capabilities(engine)
    request = asyncio.run(prepared(decode_messages(body(**fields)), given))
    chosen = options(model=MODEL, capabilities=given, api_version=OLDER, server_tools=SERVER_TOOLS)
    chat = to_chat(request, chosen).chat
    dialect = DIALECTS[engine]()
    matches_here = dialect.matches_stops_here(chat, given)
    members = msgspec.json.decode(msgspec.json.encode(dialect.body(chat, given)))
    if matches_here:
        members.pop("stop", None)
    return Wire(members, matches_here)


def outcome(engine: str, fields: Mapping[str, Any], without: Mapping[str, Any]) -> str:
    """In one cell: the members in which a request differs from the same one `without` a part."""
    try:
        found = sent(engine, fields)
    except InvalidRequestError:
        return REFUSED
    before = sent(engine, without)
    if found.matches_here and not before.matches_here:
        return HERE
    names = [name for name in found.members | before.members if _differ(found, before, name)]
    return ", ".join(map(_shown, names)) or NOT_SENT


def _differ(one: Wire, other: Wire, name: str) -> bool:
    return bool(one.members.get(name) != other.members.get(name))


def _shown(name: str) -> str:
    return "prompt" if name == "messages" else f"`{name}`"


_NO, _YES = "no", "yes"


def abilities(engine: str) -> dict[str, str]:
    """What an engine of that kind does for a capable model, in words, by what it is."""
    can = capabilities(engine)
    return {
        "`tools`": _word(can.tools),
        "`tool_choice` that forces a call": _word(can.forced_tools),
        "deferred tools leave the head of the prompt as it is": _word(can.unlisted_tools),
        "`output_config.format`": _word(can.structured_output),
        "`thinking` can be switched": _word(can.reasoning_switch),
        "images": _word(can.images),
        "prefill": "continued" if can.continuation else "refused (400)",
        "`count_tokens`": _word(can.counting, no="501"),
        "the context's length": "known" if can.context_length else "not known",
        "system prompt at the head": _word(can.system_at_head, no="in the first user turn"),
        "system turns in place": _word(can.system_in_place, no="as reminders in user turns"),
        "`message_start`'s input count": "the engine's" if can.early_usage else "an estimate",
        "`stop_sequence`": "the engine says which" if can.matched_stop else "matched here",
    }


def _word(can: bool, no: str = _NO) -> str:
    return _YES if can else no
