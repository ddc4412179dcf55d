"""What an engine can do with a model, as data."""

from __future__ import annotations

import msgspec


class EngineCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Found by asking the engine, never assumed; None means that the engine does not tell.

    context_length: tokens of prompt and answer together. fills_context: without `max_tokens` the engine
    goes on to the end of the context. matched_stop: the engine says which stop string ended the answer.
    early_usage: the prompt's token count comes with the first chunk. unlisted_tools: the engine can be told
    of tools that the head of its prompt does not show. token_ids: it tells the ids of what it read and
    sampled. token_door: it takes ids as a prompt. raw_format: how the model spells thinking and calls in its
    raw text, a name in `translate/parsers`; "" where it is not known.

    What the chat template takes, each alone: system_at_head: a system turn as the first one.
    system_in_place: system turns after that. user_after_result: a user turn right behind a result.
    calls_together: several calls in one assistant turn. calls_without_text: calls whose turn has no content.
    argument_objects: the arguments of calls as the objects that the server makes of their text.
    """

    context_length: int | None = None
    fills_context: bool = False
    tools: bool = True
    forced_tools: bool = True
    parallel_tools: bool = True
    unlisted_tools: bool = False
    images: bool = False
    reasoning: bool = False
    reasoning_switch: bool = False
    structured_output: bool = True
    continuation: bool = False
    counting: bool = False
    matched_stop: bool = False
    early_usage: bool = False
    system_at_head: bool = True
    system_in_place: bool = True
    user_after_result: bool = True
    calls_together: bool = True
    calls_without_text: bool = True
    argument_objects: bool = True
    logprobs: bool = False
    token_ids: bool = False
    token_door: bool = False
    raw_format: str = ""
