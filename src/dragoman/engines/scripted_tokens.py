"""A scripted engine with a token door: its tokens are words, its template ChatML, its raw format hermes'.

What a test needs to follow each token: ids that read back as their text, log-probabilities that are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from dragoman.engines.base import ChatStream, TokenStream
from dragoman.engines.scripted import SCRIPTED_CAPABILITIES, ScriptedInferenceEngine
from dragoman.errors import InvalidRequestError, NotSupportedError
from dragoman.wire.openai import ChatChunk, ChatMessage, ChatRequest, ChatUsage, TextPart, ToolCall
from dragoman.wire.tokens import TokenChunk, TokenRequest

TOKEN_CAPABILITIES = msgspec.structs.replace(
    SCRIPTED_CAPABILITIES, logprobs=True, token_ids=True, token_door=True, raw_format="hermes", images=False
)
# A word with the space before it, a run of white space, or one other character.
_PIECES = re.compile(r"<\|im_start\|>|<\|im_end\|>|</?think>|</?tool_call>| ?\w+|\s+|[^\w\s]")
_FIRST_ID = 100
END = "<|im_end|>"
_MOST_REQUESTS = 4096


class Vocabulary:
    """Gives each piece of text an id when it is first met, and knows it again."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return [self._id(piece) for piece in _PIECES.findall(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; an unknown one is a `KeyError`."""
        return "".join(self._piece(each) for each in ids)

    def _id(self, piece: str) -> int:
        found = self._ids.get(piece)
        if found is None:
            found = self._ids[piece] = _FIRST_ID + len(self._pieces)
            self._pieces.append(piece)
        return found

    def _piece(self, token: int) -> str:
        place = token - _FIRST_ID
        if not 0 <= place < len(self._pieces):
            raise KeyError(token)
        return self._pieces[place]


def logprob_of(token: int) -> float:
    """The log-probability with which the scripted engine samples an id."""
    return -(token % 89) / 64


class ScriptedTokenEngine(ScriptedInferenceEngine):
    """Plays scripts as token ids. `prompts` holds the ids of every prompt that it was given, in order.

    A script is picked by the chat request, so that a prompt can be answered when a request with the same
    `request_id` was rendered here before. `vocabulary` may be shared by several engines.
    """

    def __init__(self, *given: object, vocabulary: Vocabulary | None = None, **options: object) -> None:
        options.setdefault("capabilities", TOKEN_CAPABILITIES)
        super().__init__(*given, **options)  # type: ignore[arg-type]  # passed on as they came
        self.vocabulary = vocabulary or Vocabulary()
        self.prompts: list[list[int]] = []
        self._rendered: dict[str, ChatRequest] = {}

    async def render(self, request: ChatRequest) -> list[int]:
        """The ids of the prompt, with the start of the answer."""
        self._rendered[request.request_id] = request
        while len(self._rendered) > _MOST_REQUESTS:
            del self._rendered[next(iter(self._rendered))]
        return self.vocabulary.encode(chatml(request))

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        """The text of ids."""
        try:
            return self.vocabulary.decode(token_ids)
        except KeyError as error:
            raise InvalidRequestError(f"token_ids: {error} is no token") from error

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        """The script's answer in ids, a chunk per read."""
        chat = self._rendered.get(request.request_id)
        if chat is None:
            raise NotSupportedError(f"the engine {self.name} has rendered no request {request.request_id!r}")
        self.prompts.append(list(request.prompt_token_ids))
        chunks = await self.stream_chat_completion(chat)
        return _TokenStream(self.name, chunks, self.vocabulary, request)


class _TokenStream(TokenStream):
    def __init__(
        self, engine: str, chunks: ChatStream, vocabulary: Vocabulary, request: TokenRequest
    ) -> None:
        self.engine = engine
        self._chunks = chunks
        self._vocabulary = vocabulary
        self._raw = _Raw()
        self._prompt = len(request.prompt_token_ids)
        self._has_logprobs = request.sampling.logprobs
        self._left = request.sampling.max_tokens
        self._sampled = 0
        self._is_over = False

    async def __anext__(self) -> TokenChunk:
        if self._is_over:
            raise StopAsyncIteration
        batch = await self._chunks.__anext__()
        text = self._raw.text_of(batch)
        if self._raw.finish is not None:
            await self._to_the_end()
        return self._chunk(text, self._raw.finish)

    async def _to_the_end(self) -> None:
        async for _ in self._chunks:
            pass

    async def aclose(self) -> None:
        self._is_over = True
        await self._chunks.aclose()

    def _chunk(self, text: str, finish: str | None) -> TokenChunk:
        ids = self._vocabulary.encode(text)
        if finish == "stop":
            ids += self._vocabulary.encode(END)
        if self._left is not None and len(ids) >= self._left:
            ids, finish = ids[: self._left], "length" if len(ids) > self._left else finish or "length"
            text = self._vocabulary.decode(ids).removesuffix(END)
        if self._left is not None:
            self._left -= len(ids)
        self._sampled += len(ids)
        self._is_over = finish is not None
        return TokenChunk(
            token_ids=ids,
            logprobs=[logprob_of(each) for each in ids] if self._has_logprobs else None,
            text=text,
            finish_reason=finish,
            usage=ChatUsage(prompt_tokens=self._prompt, completion_tokens=self._sampled),
        )


class _Raw:
    """Chunks as the raw text that hermes' models write; `finish` is its finish reason."""

    def __init__(self) -> None:
        self.finish: str | None = None
        self._open = ""
        self._has_arguments = False

    def text_of(self, batch: list[ChatChunk]) -> str:
        return "".join(piece for chunk in batch for piece in self._pieces(chunk))

    def _pieces(self, chunk: ChatChunk) -> Iterator[str]:
        for choice in chunk.choices:
            delta = choice.delta
            if delta.reasoning:
                yield from self._turn_to("thinking", "<think>\n")
                yield delta.reasoning
            if delta.content:
                yield from self._turn_to("text", "")
                yield delta.content
            for call in delta.tool_calls or ():
                function = call.function
                if function is not None and function.name:
                    head = msgspec.json.encode(function.name).decode()
                    yield from self._turn_to(
                        f"call {call.index}", f'<tool_call>\n{{"name": {head}, "arguments": '
                    )
                if function is not None and function.arguments:
                    self._has_arguments = True
                    yield function.arguments
            if choice.finish_reason is not None:
                yield from self._turn_to("", "")
                self.finish = "length" if choice.finish_reason == "length" else "stop"

    def _turn_to(self, what: str, opener: str) -> Iterator[str]:
        if what == self._open:
            return
        if self._open == "thinking":
            yield "\n</think>\n\n"
        elif self._open.startswith("call"):
            yield "}\n</tool_call>" if self._has_arguments else "{}}\n</tool_call>"
        self._has_arguments = False
        self._open = what
        yield opener


# ---- the template ------------------------------------------------------------------------------------------


def chatml(request: ChatRequest) -> str:
    """The prompt's text, with the start of the answer; as Qwen's templates do, it cuts earlier thinking."""
    tools = "".join(f"\n{msgspec.json.encode(tool).decode()}" for tool in request.tools)
    head = f"<|im_start|>system\n# Tools{tools}{END}\n" if tools else ""
    last_user = max((at for at, turn in enumerate(request.messages) if turn.role == "user"), default=-1)
    turns = [_turn(turn, thinks=at > last_user) for at, turn in enumerate(request.messages)]
    if request.continue_final:
        turns[-1] = turns[-1].removesuffix(f"{END}\n")
        return head + "".join(turns)
    return head + "".join(turns) + "<|im_start|>assistant\n"


def _turn(message: ChatMessage, *, thinks: bool) -> str:
    said = (message.reasoning or "").strip("\n")
    thinking = f"<think>\n{said}\n</think>\n\n" if said and thinks else ""
    calls = "".join(_call(call) for call in message.tool_calls or ())
    text = _text(message).lstrip("\n") if message.role == "assistant" else _text(message)
    return f"<|im_start|>{message.role}\n{thinking}{text}{calls}{END}\n"


def _call(call: ToolCall) -> str:
    name = msgspec.json.encode(call.function.name).decode()
    return f'<tool_call>\n{{"name": {name}, "arguments": {call.function.arguments or "{}"}}}\n</tool_call>'


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content if isinstance(part, TextPart))
    return message.content or ""
