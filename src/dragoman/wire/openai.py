"""The neutral chat form: Chat Completions as every engine module speaks it upward.

Requests are plain values that a dialect writes for its engine's wire. Chunks and completions have the
shape of the wire, so that one decode per read is enough; a dialect moves what its engine spells
otherwise into the neutral fields (`reasoning`, `matched_stop`, `usage`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

# --- request ---


class TextPart(msgspec.Struct, tag_field="type", tag="text", frozen=True, gc=False):
    """Text inside a message."""

    text: str


class ImageURL(msgspec.Struct, frozen=True, gc=False):
    """An image by address: a `data:` URI or http(s)."""

    url: str


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url", frozen=True, gc=False):
    """An image inside a message."""

    image_url: ImageURL


Part = TextPart | ImagePart


class FunctionCall(msgspec.Struct, frozen=True, gc=False):
    """A call's name and its arguments as the JSON text that the model wrote."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """One call inside an assistant message."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class ChatMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One turn. `content` is a string or parts; `reasoning` is the assistant's earlier thinking, exact."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class FunctionSpec(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A tool's declaration; `parameters` are the bytes of its JSON Schema as they came.

    The order is that of the wire: templates print it, and models were trained on it.
    """

    name: str
    description: str | None = None
    parameters: msgspec.Raw
    strict: bool | None = None


class ChatTool(msgspec.Struct, kw_only=True):
    """A tool in the `tools` list."""

    type: Literal["function"] = "function"
    function: FunctionSpec


class ToolChoice(msgspec.Struct, frozen=True):
    """How tools may be used; `name` only with mode "function"."""

    mode: Literal["auto", "required", "none", "function"]
    name: str | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """The request's thinking: on, off or (None) the engine's default; a budget in tokens; an effort."""

    enabled: bool | None = None
    budget_tokens: int | None = None
    effort: str | None = None


class JsonFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Structured output: the answer's text must match this JSON Schema (bytes as received).

    `path` is where the schema stands in the client's request, and never travels to the engine; it is empty
    for one that was made here.
    """

    schema: msgspec.Raw
    name: str = "output"
    strict: bool = True
    path: str = ""


class ChatRequest(msgspec.Struct, kw_only=True):
    """One neutral request. Nothing in it has an engine's spelling; None means "not said".

    `max_tokens` None lets the engine fill the context. `continue_final` asks to go on with the last
    (assistant) message. `return_token_ids` asks for the ids of prompt and answer, where the engine has
    them (capability `token_ids`), `return_logprobs` for the log-probability of each. `schema_places` says
    where the schemas of strict tools stand in the client's request, by the tools' names. It,
    `placement_key` and `request_id` never travel to the engine.

    The tools change along a conversation, the head of the prompt does not: it shows `tools`. `hidden_tools`
    are the deferred ones, which it never shows. `loaded_tools` can be called besides: the messages show
    them, in this order. `removed_tools` names those of `tools` that cannot be called (so) any more.
    """

    model: str
    messages: list[ChatMessage]
    tools: list[ChatTool] = []
    hidden_tools: list[ChatTool] = []
    loaded_tools: list[ChatTool] = []
    removed_tools: list[str] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    reasoning: Reasoning = Reasoning()
    response_format: JsonFormat | None = None
    continue_final: bool = False
    return_token_ids: bool = False
    return_logprobs: bool = False
    schema_places: dict[str, str] = {}
    placement_key: str | None = None
    request_id: str = ""
    engine: str = ""  # where the call was placed: written by the client of many, before the engine answers

    @property
    def callable_tools(self) -> list[ChatTool]:
        """The tools that may be called now."""
        if not self.loaded_tools and not self.removed_tools:
            return self.tools
        removed = set(self.removed_tools)
        kept = [tool for tool in self.tools if tool.function.name not in removed]
        return kept + self.loaded_tools

    @property
    def has_images(self) -> bool:
        """Whether any message holds an image part."""
        return any(
            isinstance(part, ImagePart)
            for message in self.messages
            if isinstance(message.content, list)
            for part in message.content
        )


# --- answer ---


class PromptTokensDetails(msgspec.Struct, gc=False):
    """How many of the prompt's tokens came from the engine's prefix cache."""

    cached_tokens: int | None = None


class CompletionTokensDetails(msgspec.Struct, gc=False):
    """How many of the sampled tokens were thinking."""

    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct, gc=False):
    """Token counts: `prompt_tokens` includes the cached ones."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were read from the prefix cache."""
        details = self.prompt_tokens_details
        return (details.cached_tokens or 0) if details is not None else 0


def total_usage(usages: Iterable[ChatUsage | None]) -> ChatUsage | None:
    """The sum of several answers' counts; None where one of them told none, or there is none.

    What only some engines tell, cached tokens and those of thinking, is summed over those that do.
    """
    read = written = 0
    cached: int | None = None
    thought: int | None = None
    each = list(usages)
    for usage in each:
        if usage is None:
            return None
        read += usage.prompt_tokens
        written += usage.completion_tokens
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        if prompt is not None and prompt.cached_tokens is not None:
            cached = (cached or 0) + prompt.cached_tokens
        if completion is not None and completion.reasoning_tokens is not None:
            thought = (thought or 0) + completion.reasoning_tokens
    if not each:
        return None
    return ChatUsage(
        read,
        written,
        None if cached is None else PromptTokensDetails(cached),
        None if thought is None else CompletionTokensDetails(thought),
    )


class FunctionDelta(msgspec.Struct, gc=False):
    """A piece of a call: its name (once) and a fragment of its arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, gc=False):
    """A piece of the call number `index`; `id` may come once, on every piece, or never."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class ChatDelta(msgspec.Struct, gc=False):
    """What one chunk adds. `reasoning_content` is a wire spelling; dialects fold it into `reasoning`."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None
    role: str | None = None


class TokenLogprob(msgspec.Struct, gc=False):
    """A sampled token's natural log-probability, and its id where the engine tells it here."""

    logprob: float | None = None
    id: int | None = None


class Logprobs(msgspec.Struct, gc=False):
    """The log-probabilities of a chunk's tokens, in order."""

    content: list[TokenLogprob] | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    """One choice of a chunk. `matched_stop` is the string that ended the answer, where the engine says so.

    `token_ids` are those sampled since the last chunk, `logprobs` theirs, where they were asked for.
    """

    delta: ChatDelta = msgspec.field(default_factory=ChatDelta)
    index: int = 0
    finish_reason: str | None = None
    matched_stop: str | int | None = None
    stop_reason: str | int | None = None
    token_ids: list[int] | None = None
    logprobs: Logprobs | None = None


class ChatChunk(msgspec.Struct, gc=False):
    """One event of a stream; a chunk without choices may carry the usage.

    `prompt_token_ids` stand in the first chunk, where they were asked for.
    """

    choices: list[ChunkChoice] = []
    usage: ChatUsage | None = None
    id: str = ""
    model: str = ""
    prompt_token_ids: list[int] | None = None


class ChatAnswer(msgspec.Struct):
    """The assistant's message in a whole answer; same fields as a delta, complete."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None
    role: str | None = None


class ChatChoice(msgspec.Struct):
    """One choice of a whole answer."""

    message: ChatAnswer
    index: int = 0
    finish_reason: str | None = None
    matched_stop: str | int | None = None
    stop_reason: str | int | None = None


class ChatCompletion(msgspec.Struct):
    """A whole answer. `engine` names the engine that gave it (set by the engine, not on the wire)."""

    choices: list[ChatChoice] = []
    usage: ChatUsage | None = None
    id: str = ""
    model: str = ""
    engine: str = ""


class FoldedCompletion(ChatCompletion):
    """A whole answer that was put together from a stream, with the chunks that it came in.

    `choices` says what plain Chat Completions can; the order of text, thinking and calls is in `chunks` only.
    """

    chunks: list[ChatChunk] = []


class ModelCard(msgspec.Struct, kw_only=True):
    """A model that an engine serves."""

    id: str
    created: int = 0
    context_length: int | None = None
    max_output: int | None = None
    display_name: str | None = None
