"""Whatever rounds an answer has: each prompt extends the last, on replay too; both SDKs read the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.engines.scripted import call_chunk, finish_chunk, text_chunk, thinking_chunk
from dragoman.engines.whole import fold
from dragoman.translate.answer import StreamOptions
from dragoman.translate.order import ServerCall
from dragoman.translate.rounds import RoundPlan, RoundStream, WholeRounds
from dragoman.translate.server_results import ResultReader
from dragoman.wire.anthropic import response as out
from dragoman.wire.openai import ChatChunk, ChatRequest
from tests.clients.python_sdk import PythonSDK
from tests.clients.sdk import SDK, blocks
from tests.clients.typescript import TypeScriptSDK
from tests.support.server_tools import WEB_SEARCH
from tests.support.translation import NONCE, SIGNER, assistant, call, translated, user

HERE = {"server_tools": frozenset({"web_search"})}
OPTIONS = StreamOptions(message_id="msg_1", model="m", max_tokens=100_000, request_id="req_1")
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
Round = list[ChatChunk]


@st.composite
def rounds(draw: st.DrawFn) -> list[Round]:
    """An engine's answers: some that search, spelled in any way, and one that ends."""
    made: list[Round] = []
    for number in range(draw(st.integers(0, 3))):
        chunks = [thinking_chunk(draw(words)), text_chunk(draw(words))]
        for index in range(draw(st.integers(1, 2))):
            value = {"query": draw(words), "more": [1.0, None]}
            spelled = draw(st.sampled_from(["%s", " %s", "%s\n"])) % msgspec.json.encode(value).decode()
            call_id = draw(st.sampled_from([None, "call_0", f"call-{number}-{index}"]))
            chunks.append(call_chunk(index, call_id=call_id, name="web_search", arguments=spelled))
            if draw(st.booleans()):
                chunks.append(text_chunk(draw(words)))
        made.append([*chunks, finish_chunk()])
    return [*made, [thinking_chunk(draw(words)), text_chunk(draw(words)), finish_chunk()]]


def first_prompt() -> ChatRequest:
    """The prompt of a question that may be searched for."""
    return translated(HERE, messages=[user("hi")], tools=[WEB_SEARCH]).chat


def seal(text: str, visible: bool) -> str:
    return SIGNER.seal(text, visible=visible, nonce=NONCE)


def found(calls: list[ServerCall]) -> list[out.ServerResultOut]:
    """What each search finds: one hit that repeats what was asked; nothing, for some."""
    return [
        out.WebSearchToolResultOut(
            made.our_id,
            [out.WebSearchHitOut("T", "https://a.example/", seal(made.arguments, False))]
            if len(made.arguments) % 2
            else out.WebSearchErrorOut("unavailable"),
        )
        for made in calls
    ]


def no_tool(name: str, path: str) -> str:
    raise AssertionError(f"nothing searches for {name}")


def plan_for(chat: ChatRequest) -> RoundPlan:
    names = frozenset({"web_search"})
    return RoundPlan(chat=chat, names=names, result_text=ResultReader(SIGNER.open, no_tool).own, max_rounds=9)


def played(given: list[Round]) -> tuple[out.MessageOut, list[ChatRequest], dict[str, str]]:
    """The whole message of these rounds, the prompts on the way, and the calls as they were spelled."""
    prompts = [first_prompt()]
    whole = WholeRounds(OPTIONS, seal, plan_for(prompts[0]))
    for chunks in given:
        due = whole.take(fold(chunks))
        following = whole.give(found(due)) if due else None
        if following is not None:
            prompts.append(following)
    return whole.message(), prompts, dict(whole.calls)


def streamed(given: list[Round]) -> bytes:
    """The same as events."""
    stream = RoundStream(OPTIONS, seal, plan_for(first_prompt()))
    pieces = [stream.start(7)]
    for chunks in given:
        pieces += [*(stream.feed([chunk]) for chunk in chunks), stream.end()]
        if stream.due:
            pieces.append(stream.give(found(stream.due))[0])
    assert stream.fault is None
    return b"".join(pieces)


def as_json(message: out.MessageOut) -> dict[str, Any]:
    return dict(msgspec.json.decode(msgspec.json.encode(message)))


def turns_of(chat: ChatRequest) -> list[dict[str, Any]]:
    return list(msgspec.to_builtins(chat.messages))


def replayed(message: out.MessageOut, spelling: Callable[[str], str | None]) -> ChatRequest:
    """The prompt of the client's next turn, in which the message came back."""
    turns = [user("hi"), assistant(*as_json(message)["content"]), user("And now?")]
    return translated(HERE | {"spelling": spelling}, messages=turns, tools=[WEB_SEARCH]).chat


@given(given=rounds())
@settings(max_examples=200)
def test_every_prompt_extends_the_one_before(given: list[Round]) -> None:
    message, prompts, calls = played(given)
    prompts.append(replayed(message, calls.get))
    for before, after in pairwise(prompts):
        assert turns_of(after)[: len(before.messages)] == turns_of(before)
        assert msgspec.json.encode(after.tools) == msgspec.json.encode(before.tools)


def test_the_next_turn_extends_a_turn_that_ends_with_a_call_of_the_client() -> None:
    chat = translated(HERE, messages=[user("hi")], tools=[WEB_SEARCH]).chat
    whole = WholeRounds(OPTIONS, seal, plan_for(chat))
    first = [call_chunk(0, call_id="a", name="web_search", arguments='{"query":"x"}'), finish_chunk()]
    then = [call_chunk(0, call_id="b", name="f", arguments="{}"), finish_chunk()]
    prompt = whole.give(found(whole.take(fold(first))))
    assert prompt is not None
    assert whole.take(fold(then)) == []
    content = as_json(whole.message())["content"]
    answered = user({"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "ok"})
    following = translated(HERE, messages=[user("hi"), assistant(*content), answered], tools=[WEB_SEARCH])
    assert turns_of(following.chat)[: len(prompt.messages)] == turns_of(prompt)
    assert [turn.role for turn in following.chat.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert content[-1]["id"] != call()["id"]


@pytest.fixture(scope="module")
def node() -> Iterator[TypeScriptSDK]:
    """One Node.js process for all examples."""
    with TypeScriptSDK() as sdk:
        yield sdk


def same_as_the_whole_answer(sdk: SDK, given: list[Round]) -> None:
    """Fails unless the SDK reads the whole message from the stream."""
    message = as_json(played(given)[0])
    (read,) = sdk.read_streams([streamed(given)])
    assert "error" not in read
    assert without_nulls(blocks(read["ok"])) == without_nulls(blocks(message))
    assert read["ok"]["stop_reason"] == message["stop_reason"]
    assert read["ok"]["usage"]["output_tokens"] == message["usage"]["output_tokens"]
    assert read["ok"]["usage"]["server_tool_use"] == message["usage"]["server_tool_use"]


def without_nulls(value: Any) -> Any:
    """What an SDK may leave out is left out."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.clients
@given(given=rounds())
@settings(max_examples=60)
def test_the_python_sdk_reads_every_stream_of_rounds(given: list[Round]) -> None:
    same_as_the_whole_answer(PythonSDK(), given)


@pytest.mark.clients
@given(given=rounds())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_typescript_sdk_reads_every_stream_of_rounds(node: TypeScriptSDK, given: list[Round]) -> None:
    same_as_the_whole_answer(node, given)
