"""The writer of plain Chat Completions requests: what every OpenAI-compatible server reads.

Dialects take `chat_body`, change or add the keys that their engine spells otherwise, and encode it once.
"""

from __future__ import annotations

from typing import Any

from dragoman.wire.openai import ChatMessage, ChatRequest, ChatTool, JsonFormat, ToolChoice

# The efforts that Chat Completions knows; stronger ones become its strongest.
PLAIN_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def chat_body(chat: ChatRequest, *, reasoning_key: str = "reasoning_content") -> dict[str, Any]:
    """The body of a plain request, ready to be encoded; `reasoning_key` names earlier thinking in a message.

    Keys that were not said are left out. Deferred tools stay out until they are loaded. Streaming,
    continuation and the thinking switch have no plain spelling: the dialect adds them.
    """
    body: dict[str, Any] = {
        "model": chat.model,
        "messages": [plain_message(message, reasoning_key) for message in chat.messages],
    }
    tools = plain_tools(chat)
    if tools:
        body["tools"] = tools
    if chat.tool_choice is not None:
        body["tool_choice"] = plain_tool_choice(chat.tool_choice)
    body.update((key, value) for key, value in _scalars(chat) if value is not None)
    if chat.stop:
        body["stop"] = chat.stop
    if chat.reasoning.effort is not None:
        body["reasoning_effort"] = PLAIN_EFFORTS.get(chat.reasoning.effort, chat.reasoning.effort)
    if chat.response_format is not None:
        body["response_format"] = plain_format(chat.response_format)
    return body


def plain_tools(chat: ChatRequest) -> list[ChatTool]:
    """The tools for an engine that knows those only that its prompt shows: what was loaded joins the end.

    One that was removed stays, so that the prompt does, unless a call is forced, which might be one of it.
    """
    if not chat.loaded_tools and not chat.removed_tools:
        return chat.tools
    gone = {tool.function.name for tool in chat.loaded_tools}
    if chat.tool_choice is not None and chat.tool_choice.mode in {"required", "function"}:
        gone.update(chat.removed_tools)
    return [tool for tool in chat.tools if tool.function.name not in gone] + chat.loaded_tools


def _scalars(chat: ChatRequest) -> tuple[tuple[str, float | None], ...]:
    return (
        ("parallel_tool_calls", chat.parallel_tool_calls),
        ("max_tokens", chat.max_tokens),
        ("temperature", chat.temperature),
        ("top_p", chat.top_p),
        ("top_k", chat.top_k),
    )


def plain_message(message: ChatMessage, reasoning_key: str) -> ChatMessage | dict[str, Any]:
    """One message; an assistant's missing content is an explicit null, which templates test for."""
    if message.role != "assistant":
        return message
    written: dict[str, Any] = {"role": "assistant", "content": message.content}
    if message.reasoning is not None:
        written[reasoning_key] = message.reasoning
    if message.tool_calls:
        written["tool_calls"] = message.tool_calls
    return written


def plain_tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """A tool choice as Chat Completions spells it."""
    if choice.mode == "function":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def plain_format(output: JsonFormat) -> dict[str, Any]:
    """A structured output's `response_format`, its schema byte for byte."""
    schema = {"name": output.name, "schema": output.schema, "strict": output.strict}
    return {"type": "json_schema", "json_schema": schema}
