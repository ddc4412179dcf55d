"""The remote engine where a server takes no effort: the same request without, then and from then on."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from dragoman.wire.openai import Reasoning
from tests.support.fake_openai import FakeOpenAI, events, hello, reply, whole
from tests.unit.engines.remotes import ask, read, remote, text_of

HIGH = Reasoning(effort="high")


def refusal(
    message: object = "Unsupported parameter: 'reasoning_effort' is not supported with this model.",
) -> Any:
    """What a server says."""
    return {"error": {"message": message, "type": "invalid_request_error", "code": 400}}


FORBIDDEN = [
    {"type": "extra_forbidden", "loc": ["body", "reasoning_effort"], "msg": "Extra inputs are not permitted"}
]


def efforts(fake: FakeOpenAI) -> list[object]:
    """What was asked for, request by request."""
    return [seen.json.get("reasoning_effort") for seen in fake.chats]


@pytest.mark.parametrize(
    "refused",
    [reply(refusal(), 400), events(refusal()), reply({"detail": FORBIDDEN}, 422)],
)
async def test_an_effort_that_is_refused_is_left_out_from_then_on(refused: Any) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(refused, hello())
        assert text_of(await read(await engine.stream_chat_completion(ask(reasoning=HIGH)))) == "Hi"
        fake.chat(reply(whole()))
        await engine.chat_completion(ask(reasoning=HIGH))
        assert efforts(fake) == ["high", None, None]


async def test_it_is_asked_for_still_of_other_models() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(reply(refusal(), 400), reply(whole()))
        await engine.chat_completion(ask(reasoning=HIGH))
        other = ask(reasoning=HIGH)
        other.model = "other"
        fake.chat(reply(whole()))
        await engine.chat_completion(other)
        assert efforts(fake) == ["high", None, "high"]


async def test_a_request_that_is_refused_without_it_too_shows_nothing_of_efforts() -> None:
    echoed = reply(refusal("messages: invalid, in {'reasoning_effort': 'high', 'messages': []}"), 400)
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for _ in range(2):
            fake.chat(echoed, echoed)
            with pytest.raises(InvalidRequestError, match=r"^the engine refused the request as invalid$"):
                await engine.chat_completion(ask(reasoning=HIGH))
        assert efforts(fake) == ["high", None, "high", None]


async def test_the_count_is_that_of_the_prompt_without() -> None:
    async with FakeOpenAI() as fake, remote(fake, "vllm") as engine:
        fake.routes["/tokenize"] = reply({"count": 5, "tokens": [1] * 5})
        fake.routes["/detokenize"] = reply({"prompt": "Hello"})
        fake.chat(reply(refusal(), 400), reply(whole()))
        await engine.chat_completion(ask(reasoning=HIGH))
        await engine.count_tokens(ask("How many?", reasoning=HIGH))
        (counted,) = [seen.json for seen in fake.seen if b"How many?" in seen.body]
        assert "chat_template_kwargs" not in counted
