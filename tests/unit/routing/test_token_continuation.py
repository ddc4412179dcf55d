"""A token stream whose engine fails: it goes on elsewhere, no id and no text twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dragoman.engines.base import TokenStream
from dragoman.errors import EngineLostError, InvalidRequestError, NotSupportedError
from dragoman.settings import Routing, Settings
from dragoman.wire.tokens import SamplingParams, TokenChunk, TokenRequest
from tests.unit.routing.clients import started
from tests.unit.routing.test_by_tokens import PIECES, PROMPT, Engine, Tokens, ids_of

TEXT = "".join(PIECES)
ALL = ids_of(len(PIECES) + 1)


class Breaking(Tokens):
    """Ends after some ids: by an error, by silence, by giving up, or before a word of its last id."""

    def __init__(self, engine: str, request: TokenRequest, after: int, how: str) -> None:
        super().__init__(engine, request)
        self._after = after
        self._how = how

    async def __anext__(self) -> TokenChunk:
        if self._sampled == self._after:
            return await self._broken()
        chunk = await super().__anext__()
        if self._how == "late text" and self._sampled == self._after:
            chunk.text = ""
        return chunk

    async def _broken(self) -> TokenChunk:
        if self._how == "silence":
            raise StopAsyncIteration
        if self._how == "abort":
            return TokenChunk(finish_reason="abort")
        if self._how == "refusal":
            raise InvalidRequestError("no")
        raise EngineLostError("the connection broke", log_detail="test")


class BreakingEngine(Engine):
    """An engine whose first token stream breaks."""

    def __init__(self, name: str, after: int, how: str = "error") -> None:
        super().__init__(name)
        self._breaks = [(after, how)]

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        if not self._breaks:
            return await super().stream_tokens(request)
        self.asked.append(request)
        after, how = self._breaks.pop()
        return Breaking(self.name, request, after, how)


async def read(
    engines: Sequence[Engine], settings: Settings | None = None, **sampling: Any
) -> tuple[list[TokenChunk], str, str]:
    """The chunks, the engine at the end, and the metrics."""
    async with started(engines, settings) as client:
        request = TokenRequest(model="m", prompt_token_ids=PROMPT, sampling=SamplingParams(**sampling))
        stream = await client.stream_tokens(request)
        try:
            chunks = [chunk async for chunk in stream]
        finally:
            await stream.aclose()
        return chunks, stream.engine, client.metrics.render().decode()


def ids_in(chunks: list[TokenChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


def text_in(chunks: list[TokenChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


@pytest.mark.parametrize("after", range(len(PIECES) + 1))
@pytest.mark.parametrize("how", ["error", "silence", "late text"])
async def test_it_goes_on_elsewhere_from_its_ids(after: int, how: str) -> None:
    one, two = BreakingEngine("one", after, how), Engine("two")
    chunks, engine, metrics = await read([one, two])
    assert (ids_in(chunks), text_in(chunks), engine) == (ALL, TEXT, "two")
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(PROMPT), len(ALL))
    assert [asked.prompt_token_ids for asked in two.asked] == [[*PROMPT, *ids_of(after)]]
    assert f'continued_total{{engine="one",how="{"tokens" if after else "anew"}"}} 1.0' in metrics


async def test_what_was_given_up_goes_on() -> None:
    engines = [BreakingEngine("one", 4, "abort"), Engine("two")]
    chunks, _, _ = await read(engines)
    assert (ids_in(chunks), text_in(chunks)) == (ALL, TEXT)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert [*PROMPT, *ids_of(4)] in [asked.prompt_token_ids for each in engines for asked in each.asked]


async def test_what_nobody_takes_up_again_is_lost() -> None:
    settings = Settings(routing=Routing(retries=0))
    with pytest.raises(EngineLostError, match="gave up"):
        await read([BreakingEngine("one", 4, "abort"), Engine("two")], settings)


async def test_no_more_is_sampled_than_was_asked_for() -> None:
    two = Engine("two")
    chunks, _, _ = await read([BreakingEngine("one", 4), two], max_tokens=6)
    assert (ids_in(chunks), chunks[-1].finish_reason) == (ids_of(6), "length")
    assert two.asked[0].sampling.max_tokens == 2
    two = Engine("two")
    chunks, _, _ = await read([BreakingEngine("one", 4), two], max_tokens=4)
    assert (ids_in(chunks), chunks[-1].finish_reason, two.asked) == (ids_of(4), "length", [])


async def test_a_refusal_is_the_clients() -> None:
    with pytest.raises(InvalidRequestError):
        await read([BreakingEngine("one", 2, "refusal"), Engine("two")])


async def test_where_nobody_can_go_on_the_failure_is_raised() -> None:
    with pytest.raises(EngineLostError, match="broke"):
        await read([BreakingEngine("one", 2)])
    off = Settings(routing=Routing(continuation=False))
    with pytest.raises(EngineLostError, match="broke"):
        await read([BreakingEngine("one", 2), Engine("two")], off)


async def test_text_that_cannot_be_asked_for_is_left_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> str:
        raise NotSupportedError("no")

    monkeypatch.setattr(Engine, "detokenize", refused)
    chunks, _, _ = await read([BreakingEngine("one", 3, "late text"), Engine("two")])
    assert (ids_in(chunks), text_in(chunks)) == (ALL, TEXT.replace(PIECES[2], "", 1))
