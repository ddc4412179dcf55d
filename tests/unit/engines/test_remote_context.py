"""The remote engine where prompt and answer pass the server's context."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import (
    InvalidRequestError,
    PromptTooLongError,
)
from tests.support.fake_openai import (
    FakeOpenAI,
    events,
    hello,
    reply,
    whole,
)
from tests.unit.engines.remotes import ask, read, remote, text_of


def overflow(prompt: int, wanted: int) -> dict[str, Any]:
    message = (
        f"This model's maximum context length is 100 tokens. However, you requested {prompt + wanted} tokens "
        f"({prompt} in the messages, {wanted} in the completion). Please reduce the length of the messages."
    )
    return {"error": {"message": message, "type": "BadRequestError", "code": 400}}


@pytest.mark.parametrize("place", ["status", "stream"])
async def test_an_answer_that_passes_the_context_is_asked_for_again_with_the_rest(place: str) -> None:
    refused = reply(overflow(90, 50), 400) if place == "status" else events(overflow(90, 50))
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(refused, hello())
        assert text_of(await read(await engine.stream_chat_completion(ask(max_tokens=50)))) == "Hi"
        fake.chat(reply(overflow(90, 50), 400), reply(whole()))
        await engine.chat_completion(ask(max_tokens=50))
        assert [seen.json["max_tokens"] for seen in fake.chats] == [50, 10, 50, 10]


async def test_what_is_left_leaves_the_room_that_sglang_keeps_free() -> None:
    async with FakeOpenAI() as fake, remote(fake, "sglang") as engine:
        fake.chat(reply(overflow(90, 50), 400), hello())
        await read(await engine.stream_chat_completion(ask(max_tokens=50)))
        assert [seen.json["max_tokens"] for seen in fake.chats] == [50, 9]


@pytest.mark.parametrize(("prompt", "wanted"), [(120, 50), (100, 1), (90, None), (90, 10)])
async def test_a_prompt_that_leaves_no_room_is_too_long(prompt: int, wanted: int | None) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(reply(overflow(prompt, wanted or 16), 400))
        with pytest.raises(PromptTooLongError) as raised:
            await engine.stream_chat_completion(ask(max_tokens=wanted))
        assert raised.value.message == f"prompt is too long: {prompt} tokens > {min(100, prompt - 1)} maximum"
        assert len(fake.chats) == 1


async def test_a_second_overflow_is_told() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        unclear = {"error": {"message": "the context length is exceeded", "code": 400}}
        for second in (reply(overflow(99, 10), 400), reply(unclear, 400)):
            fake.chat(reply(overflow(90, 50), 400), second)
            with pytest.raises(PromptTooLongError, match="prompt is too long"):
                await engine.chat_completion(ask(max_tokens=50))


async def test_an_overflow_without_numbers_still_has_the_known_words() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(reply({"error": {"message": "input exceeds the context window"}}, 400))
        with pytest.raises(PromptTooLongError, match=r"^prompt is too long$"):
            await engine.chat_completion(ask(max_tokens=5))


async def test_where_the_server_counts_its_count_is_believed_before_its_error() -> None:
    # vLLM cuts the prompt before it counts: the number in its error is the largest that fits, and one
    message = (
        "You passed 51 input tokens and requested 50 output tokens. However, the model's context length is "
        "only 100 tokens, resulting in a maximum input length of 50 tokens."
    )
    refused = reply({"error": {"message": message, "type": "BadRequestError", "code": 400}}, 400)
    counted = {"count": 80, "tokens": [1] * 80}
    routes: Any = {"/tokenize": reply(counted), "/detokenize": reply({"prompt": "x"})}
    async with FakeOpenAI(routes) as fake, remote(fake, "vllm") as engine:
        fake.chat(refused, hello())
        assert text_of(await read(await engine.stream_chat_completion(ask(max_tokens=50)))) == "Hi"
        assert fake.chats[1].json["max_tokens"] == 20
        fake.routes["/tokenize"] = reply({"count": 150, "tokens": [1] * 150})
        fake.chat(refused)
        with pytest.raises(PromptTooLongError) as raised:
            await engine.chat_completion(ask(max_tokens=50))
        assert (raised.value.tokens, raised.value.maximum) == (150, 100)


async def test_a_count_that_is_refused_as_too_long_has_the_known_words() -> None:
    routes: Any = {"/tokenize": reply({"count": 1, "tokens": [1]}), "/detokenize": reply({"prompt": "x"})}
    async with FakeOpenAI(routes) as fake, remote(fake, "vllm") as engine:
        await engine.capabilities("m")
        fake.routes["/tokenize"] = reply(overflow(150, 0), 400)
        with pytest.raises(InvalidRequestError, match="prompt is too long"):
            await engine.count_tokens(ask())
        fake.chat(reply(overflow(90, 50), 400), reply(whole()))
        await engine.chat_completion(ask(max_tokens=50))
        assert fake.chats[1].json["max_tokens"] == 10
