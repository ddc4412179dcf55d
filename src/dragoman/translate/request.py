"""A Messages request to one neutral Chat Completions request."""

from __future__ import annotations

from dragoman.translate.demands import expected_of
from dragoman.translate.messages import Conversation
from dragoman.translate.options import Findings, RequestOptions, Translation
from dragoman.translate.params import (
    format_of,
    max_tokens_of,
    note_unknown_edits,
    refuse_misplaced,
    refuse_unavailable,
    stops_of,
    top_k_of,
)
from dragoman.translate.server_results import ResultReader
from dragoman.translate.server_turns import ServerHistory
from dragoman.translate.thinking import display_of, reasoning_of
from dragoman.translate.tool_choice import choice_of
from dragoman.translate.tool_set import ToolSet
from dragoman.translate.tools import tools_of
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from dragoman.wire.openai import ChatRequest

__all__ = ["RequestOptions", "Translation", "to_chat"]


def to_chat(request: MessagesRequest | CountTokensRequest, options: RequestOptions) -> Translation:
    """The neutral request, with what the answer's translation must know.

    Pure and deterministic. Raises only `InvalidRequestError`, whose message begins with the path of what is
    wrong or cannot reach the model.
    """
    refuse_unavailable(request)
    refuse_misplaced(request, options)
    findings = Findings()
    note_unknown_edits(request, findings)
    tools = ToolSet(tools_of(request, options))
    messages = tools.walk(request.messages)
    choice, strict = choice_of(request, tools, options), tools.strict
    history = ServerHistory(tools.server, ResultReader(options.open_thinking, tools.load))
    conversation = Conversation(request, messages, options, findings, history)
    chat = ChatRequest(
        model=options.model,
        messages=conversation.messages,
        tools=list(tools.shown.values()),
        hidden_tools=tools.deferred,
        loaded_tools=tools.loaded,
        removed_tools=tools.removed,
        tool_choice=choice.mode,
        parallel_tool_calls=choice.parallel,
        reasoning=reasoning_of(request, options),
        response_format=format_of(request, options),
        schema_places={tool.name: tool.place for tool in strict if tool.holds},
        continue_final=conversation.continues,
        placement_key=options.placement_key,
        request_id=options.request_id,
    )
    if isinstance(request, MessagesRequest):
        chat.max_tokens = max_tokens_of(request, options)
        chat.stop = stops_of(request)
        chat.temperature, chat.top_p, chat.top_k = request.temperature, request.top_p, top_k_of(request)
    return Translation(
        chat=chat,
        display=display_of(request),
        max_tokens=request.max_tokens if isinstance(request, MessagesRequest) else 0,
        dropped_thinking=findings.dropped_thinking,
        notes=findings.notes(),
        expected=expected_of(chat, choice, strict),
        server_tools=tools.running,
        tools=tools if tools.running else None,
    )
