"""Dialects: what each kind of server spells in its own way, as data and pure functions."""

from __future__ import annotations

from dragoman.engines.dialects.base import Ask, CardList, Dialect
from dragoman.engines.dialects.errors import REFUSES_KEY, error_of_reply
from dragoman.engines.dialects.generic import GenericDialect
from dragoman.engines.dialects.llamacpp import LlamaCppDialect
from dragoman.engines.dialects.ollama import OllamaDialect
from dragoman.engines.dialects.sglang import SGLangDialect
from dragoman.engines.dialects.transformers import TransformersDialect
from dragoman.engines.dialects.vllm import VLLMDialect

# In the order in which a server is asked: SGLang also answers Ollama's questions.
DIALECTS: dict[str, type[Dialect]] = {
    "llamacpp": LlamaCppDialect,
    "sglang": SGLangDialect,
    "ollama": OllamaDialect,
    "vllm": VLLMDialect,
    "transformers": TransformersDialect,
    "generic": GenericDialect,
}
# What a server's list of models says of its maker.
_OWNERS = {"llamacpp": "llamacpp", "sglang": "sglang", "vllm": "vllm", "library": "ollama"}


async def detect(ask: Ask) -> Dialect:
    """The dialect of the server that answers; raises what `ask` raises, and what keeps it from saying.

    A refused key, or a failure: behind a proxy it may be that the server is not there yet.
    """
    reply = await ask("/v1/models", None)
    # without a cache of the hub this server has no list, though it serves
    if reply.status == 500 and await (without_list := TransformersDialect()).recognise(ask):
        return without_list
    if reply.status >= 500 or reply.status in REFUSES_KEY:
        raise error_of_reply(reply.status, reply.body)
    cards = reply.read(CardList)
    for card in cards.data if cards else ():
        if card.owned_by in _OWNERS:
            return DIALECTS[_OWNERS[card.owned_by]]()
    for kind in (kind for kind in DIALECTS.values() if kind is not GenericDialect):
        dialect = kind()
        if await dialect.recognise(ask):
            return dialect
    return GenericDialect()
