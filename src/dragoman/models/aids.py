"""What helps a small model to call tools: texts of its catalogue entry, and how its calls begin."""

from __future__ import annotations

import msgspec


class PromptAids(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The aids of one model; an empty text adds nothing.

    system: the system prompt of a request with tools that has none of its own. policy: ends the system prompt
    of every request with tools. result: stands behind every result of a tool. fences: what may stand before
    a call that the model writes as text; the bare JSON object is always one. marks: what only ever stands
    before a call. chains: whether another call is as welcome as words in the answer to a result.
    forced_penalty: llama.cpp's `repeat_penalty` for a call that was forced, where a model with nothing to say
    would write for ever; 1 is none.
    """

    system: str = ""
    policy: str = ""
    result: str = ""
    fences: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    chains: bool = True
    forced_penalty: float = 1.0
