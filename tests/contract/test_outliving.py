"""An answer whose engine breaks off goes on at a real engine, wherever it broke: the very same answer."""

from __future__ import annotations

import pytest

from dragoman.engines.base import ChatStream, EngineHealth, InferenceEngine, RelayedAnswer, TokenStream
from dragoman.errors import EngineLostError
from dragoman.routing.client import InferenceEngineClient
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatRequest, ModelCard
from dragoman.wire.tokens import RelayRequest, TokenRequest
from tests.contract.conftest import MORE_ENGINES
from tests.contract.test_engines import asked, expected, parts, streamed
from tests.support.dialogues import MODEL

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.engine,
    pytest.mark.parametrize("engine", ["llamacpp", *MORE_ENGINES], indirect=True, scope="module"),
]


class Through(InferenceEngine):
    """A real engine under another name, whose chat streams break off after so many reads."""

    def __init__(self, engine: InferenceEngine, name: str, breaks_after: int | None = None) -> None:
        self.name = name
        self.asked: list[ChatRequest] = []
        self.asked_tokens: list[TokenRequest] = []
        self._engine = engine
        self._breaks_after = breaks_after

    async def capabilities(self, model: str) -> EngineCapabilities:
        return await self._engine.capabilities(model)

    async def models(self) -> list[ModelCard]:
        return await self._engine.models()

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        return await self._engine.chat_completion(request)

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        self.asked.append(request)
        return Breaking(await self._engine.stream_chat_completion(request), self.name, self._breaks_after)

    async def count_tokens(self, request: ChatRequest) -> int:
        return await self._engine.count_tokens(request)

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        return await self._engine.detokenize(model, token_ids)

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        self.asked_tokens.append(request)
        return await self._engine.stream_tokens(request)

    async def relay(self, request: RelayRequest) -> RelayedAnswer:
        return await self._engine.relay(request)

    async def health(self) -> EngineHealth:
        return await self._engine.health()

    async def aclose(self) -> None:
        """The real engine is closed by its own fixture."""


class Breaking(ChatStream):
    """A stream that breaks off; its chunks come one by one."""

    def __init__(self, stream: ChatStream, name: str, breaks_after: int | None) -> None:
        self.engine = name
        self._stream = stream
        self._left = breaks_after
        self._due: list[ChatChunk] = []

    async def __anext__(self) -> list[ChatChunk]:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                await self._stream.aclose()
                raise EngineLostError("the test cut it")
        if not self._due:
            self._due = list(await self._stream.__anext__())
        return [self._due.pop(0)] if self._due else []

    async def aclose(self) -> None:
        await self._stream.aclose()


async def continued(
    engine: InferenceEngine, request: ChatRequest, after: int
) -> tuple[ChatCompletion, Through, str]:
    """The answer, the engine that took over, and how."""
    first, second = Through(engine, "first", after), Through(engine, "second")
    client = InferenceEngineClient([first, second])
    await client.look()
    completion = await streamed(client, request)
    told = client.metrics.render().decode()
    hows = [how for how in ("tokens", "text", "anew", "no") if f'engine="first",how="{how}"' in told]
    return completion, second, "".join(hows)


async def test_text_goes_on_wherever_it_broke(engine: InferenceEngine) -> None:
    whole = await streamed(engine, asked("count/nothink"))
    assert whole.usage is not None
    ways = set()
    for after in range(1, 24, 3):
        completion, second, how = await continued(engine, asked("count/nothink"), after)
        assert parts(completion) == expected("count/nothink"), after
        assert completion.usage is not None
        assert completion.usage.prompt_tokens == whole.usage.prompt_tokens
        assert completion.usage.completion_tokens == whole.usage.completion_tokens, after
        # on a busy machine many tokens come in one chunk, and the answer may be over before the break
        assert bool(how) == bool(second.asked or second.asked_tokens), after
        ways.add(how)
    assert ways <= {"tokens", "text", "anew", ""}
    assert ways & {"tokens", "text"}


@pytest.mark.parametrize("name", ["hello", "call-Paris"])
async def test_thinking_and_calls_go_on_where_ids_are_told(engine: InferenceEngine, name: str) -> None:
    """Without ids, what broke inside of them is an error, never half an answer that looks whole."""
    can = await engine.capabilities(MODEL)
    whole = await streamed(engine, asked(name))
    assert whole.usage is not None
    outcomes: dict[str, list[ChatCompletion]] = {}
    for after in range(2, 40, 3):
        try:
            completion, _, how = await continued(engine, asked(name), after)
        except EngineLostError:
            completion, how = whole, "error"
        outcomes.setdefault(how, []).append(completion)
    # a turn that is continued as a text is another prompt: the model may go on otherwise
    same = [one for how, ones in outcomes.items() if how != "text" for one in ones]
    assert [parts(one) for one in same] == [expected(name)] * len(same)
    used = [one.usage for how in ("tokens", "anew") for one in outcomes.get(how, ())]
    counts = [(usage.prompt_tokens, usage.completion_tokens) for usage in used if usage is not None]
    assert counts == [(whole.usage.prompt_tokens, whole.usage.completion_tokens)] * len(used)
    assert [how for how in ("error", "tokens") if how in outcomes] == ["tokens" if can.token_ids else "error"]
