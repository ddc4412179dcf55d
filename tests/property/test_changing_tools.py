"""Whatever becomes of the tools along a conversation, the prompt only grows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engines.dialects import DIALECTS
from dragoman.errors import InvalidRequestError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest
from tests.support.translation import able_but, assistant, call, result, system, text, tool, translated, user

SHOWN = ["a", "b"]
DEFERRED = ["late", "later"]
INLINE = ["new", "b"]
TOOLS = [tool(name) for name in SHOWN] + [tool(name, defer_loading=True) for name in DEFERRED]
NAMES = st.sampled_from([*SHOWN, *DEFERRED])
UNLISTED = EngineCapabilities(unlisted_tools=True)

REFERENCES = st.builds(lambda name: {"type": "tool_reference", "tool_name": name}, NAMES)
RESULTS = st.lists(st.one_of(REFERENCES, st.just(text("ok"))), max_size=3)
BY_NAME = st.builds(
    lambda kind, name: {"type": kind, "tool": {"type": "tool_reference", "name": name}},
    st.sampled_from(["tool_addition", "tool_removal"]),
    NAMES,
)
BY_VALUE = st.builds(
    lambda name, words: {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": tool(name, description=words)},
    },
    st.sampled_from(INLINE),
    st.sampled_from(["one", "another"]),
)
CHANGES = st.lists(st.one_of(BY_NAME, BY_VALUE, st.just(text("Note."))), max_size=3)
Rounds = list[tuple[list[Any], list[Any]]]
ROUNDS = st.lists(st.tuples(RESULTS, CHANGES), min_size=1, max_size=4)


def turns_of(rounds: Rounds) -> list[list[Any]]:
    """The messages of every turn of an agent's loop: a call, its result, and what the system says."""
    turns: list[list[Any]] = [[user("go")]]
    for number, (content, changes) in enumerate(rounds):
        called = f"toolu_{number}"
        added = [assistant(call(called, "a")), user(result(called, content))]
        turns.append([*turns[-1], *added, *([system(*changes)] if changes else [])])
    return turns


def request_of(messages: list[Any], *, in_place: bool = True, **fields: Any) -> ChatRequest:
    """The request of one turn."""
    able = {"capabilities": able_but(system_in_place=in_place)}
    return translated(able, messages=messages, tools=TOOLS, system="top", **fields).chat


@given(ROUNDS, st.booleans())
def test_each_turn_extends_the_one_before(rounds: Rounds, in_place: bool) -> None:
    requests = [request_of(messages, in_place=in_place) for messages in turns_of(rounds)]
    for earlier, later in pairwise(requests):
        known = len(earlier.messages)
        assert later.messages[:known] == earlier.messages
        assert later.tools == earlier.tools
        assert [one.function.name for one in later.tools] == SHOWN
        for dialect in ("llamacpp", "vllm"):
            heads = [head_of(dialect, request) for request in (earlier, later)]
            assert heads[0] == heads[1]


def head_of(dialect: str, request: ChatRequest) -> list[str]:
    """The names of the tools that the template prints."""
    body = msgspec.json.decode(DIALECTS[dialect]().write(request, UNLISTED, stream=False))
    printed = body.get("chat_template_kwargs", {}).get("tools", body["tools"])
    return [one["function"]["name"] for one in printed]


@given(ROUNDS, st.sampled_from([*SHOWN, *DEFERRED, "new"]))
def test_what_can_be_called_can_be_forced_and_nothing_else(rounds: Rounds, name: str) -> None:
    messages = turns_of(rounds)[-1]
    can_be_called = [one.function.name for one in request_of(messages).callable_tools]
    assert len(can_be_called) == len(set(can_be_called))
    assert forces(messages, name) is (name in can_be_called)


def forces(messages: list[Any], name: str) -> bool:
    """Whether the tool of that name can be forced."""
    try:
        request_of(messages, tool_choice={"type": "tool", "name": name})
    except InvalidRequestError:
        return False
    return True


@given(ROUNDS)
def test_a_tool_that_was_loaded_stands_in_the_messages(rounds: Rounds) -> None:
    last = request_of(turns_of(rounds)[-1])
    words = "\n".join(str(message.content) for message in last.messages)
    for loaded in last.loaded_tools:
        assert msgspec.json.encode(loaded).decode() in words
