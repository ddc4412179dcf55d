"""Any request translates or is refused, nothing is lost, and what the API holds equal stays equal."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dragoman.errors import InvalidRequestError
from dragoman.translate.preview import chat_json
from dragoman.translate.request import RequestOptions, Translation, to_chat
from dragoman.wire.anthropic import MessagesRequest, decode_messages
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage, ImagePart, TextPart
from tests.property.test_request_bodies import SCALARS, VALUES
from tests.support.agent_loops import Loop, loops
from tests.support.translation import (
    SCHEMA,
    able_but,
    assistant,
    body,
    call,
    image,
    options,
    result,
    system,
    text,
    thinking,
    tool,
    translated,
    user,
)

ALL_TEMPLATES = [
    able_but(),
    able_but(system_in_place=False),
    able_but(user_after_result=False),
    able_but(system_in_place=False, user_after_result=False),
    able_but(system_at_head=False, system_in_place=False),
    able_but(calls_together=False),
    able_but(calls_without_text=False),
    able_but(system_at_head=False, system_in_place=False, calls_together=False, user_after_result=False),
]
TEMPLATES = st.sampled_from(ALL_TEMPLATES)
TOOLS = [tool("f"), tool("late", defer_loading=True), tool("g")]


def of(messages: list[dict[str, Any]], capabilities: EngineCapabilities) -> Translation:
    """The translation of a conversation for an engine."""
    return translated({"capabilities": capabilities}, messages=messages, tools=TOOLS, system="top")


# --- every request ---

IDS = st.sampled_from(["toolu_a", "toolu_b", ""])
RESULT_BLOCKS = st.one_of(
    st.builds(text, st.text(max_size=3)),
    st.builds(image, st.sampled_from(["", "AA==", "A", "é"])),
    st.just({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}),
    st.just({"type": "tool_reference", "tool_name": "f"}),
    st.just({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}),
    st.just({"type": "search_result", "source": "s", "title": "t", "content": [text("a")]}),
    st.just({"type": "browser_state", "tabs": []}),
)
BLOCKS = st.one_of(
    RESULT_BLOCKS.filter(lambda block: block["type"] != "browser_state"),
    st.builds(thinking, st.text(max_size=3), st.sampled_from(["", "x", None])),
    st.just({"type": "redacted_thinking", "data": "x"}),
    st.builds(
        call, IDS, st.sampled_from(["f", ""]), st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)
    ),
    st.builds(result, IDS, st.one_of(st.none(), st.text(max_size=3), st.lists(RESULT_BLOCKS, max_size=3))),
    st.just({"type": "fallback"}),
    st.builds(
        lambda content, changes: {"type": "compaction", "content": content, "tool_changes": changes},
        st.sampled_from([None, "", "x"]),
        st.sampled_from([None, [], [{}]]),
    ),
    st.builds(
        lambda kind, content: {"type": kind, "tool_use_id": "x", "content": content},
        st.sampled_from(["web_search_tool_result", "mcp_tool_result", "advisor_tool_result"]),
        VALUES,
    ),
    st.builds(lambda tools: {"type": "mcp_tool_listing", "tools": tools}, VALUES),
    st.builds(lambda value: {"type": "server_tool_use", "id": "x", "name": "f", "input": value}, VALUES),
    st.just({"type": "image", "source": {"type": "file", "file_id": "x"}}),
    st.just({"type": "image", "source": {"type": "url", "url": "file:///x"}}),
)
TURNS = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "user", "assistant", "system"]),
        "content": st.one_of(st.text(max_size=3), st.lists(BLOCKS, max_size=4)),
    },
    optional={"clear_at": st.sampled_from(["next_user_message", "never"])},
)
ANY_TOOL = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["f", "g", "", "a b"]),
        "type": st.sampled_from(["custom", "bash_20250124", "web_search_20250305", "x", None]),
        "input_schema": st.one_of(st.just(SCHEMA), VALUES),
        "input_examples": st.one_of(st.none(), VALUES),
        "defer_loading": st.booleans(),
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "system": st.one_of(st.none(), st.text(max_size=3), st.lists(st.builds(text, st.text(max_size=3)))),
    "tools": st.lists(ANY_TOOL, max_size=3),
    "tool_choice": st.sampled_from(
        [{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "f"}]
    ),
    "thinking": st.sampled_from([{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}]),
    "stop_sequences": st.lists(st.text(max_size=2), max_size=3),
    "output_config": st.fixed_dictionaries({"format": st.just({"type": "json_schema", "schema": []})}),
    "container": VALUES,
    "thread": st.sampled_from(
        [None, {"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}]
    ),
    "compaction": VALUES,
    "mcp_servers": st.lists(VALUES, max_size=1),
    "max_tokens": st.sampled_from([0, 1, 5000]),
}
ENGINES = st.builds(
    EngineCapabilities,
    tools=st.booleans(),
    forced_tools=st.booleans(),
    images=st.booleans(),
    reasoning=st.booleans(),
    reasoning_switch=st.booleans(),
    structured_output=st.booleans(),
    continuation=st.booleans(),
    system_at_head=st.booleans(),
    system_in_place=st.booleans(),
    user_after_result=st.booleans(),
    calls_together=st.booleans(),
    calls_without_text=st.booleans(),
)


def outcome(request: MessagesRequest, chosen: RequestOptions) -> bytes:
    """The plain chat request, or the words of the refusal."""
    try:
        return chat_json(to_chat(request, chosen).chat)
    except InvalidRequestError as refusal:
        return refusal.message.encode()


@given(
    st.lists(TURNS, min_size=1, max_size=5),
    st.fixed_dictionaries({}, optional=FIELDS),
    ENGINES,
    st.sampled_from(["accept", "drop", "refuse"]),
    st.sampled_from(["refuse", "note"]),
)
def test_any_request_translates_or_is_refused(
    messages: list[dict[str, Any]], fields: dict[str, Any], engine: Any, foreign: str, blind: str
) -> None:
    request = decode_messages(body(messages=messages, **fields))
    chosen = options(capabilities=engine, foreign_thinking=foreign, text_only_images=blind)
    found = outcome(request, chosen)
    assert found.startswith(b"{") or found.partition(b":")[0].split(b".")[0].decode() in {"messages", *FIELDS}


# --- nothing is lost ---


def words_of(messages: list[ChatMessage], *roles: str) -> str:
    """The texts of all messages of these roles, in order, on lines of their own: no mark is made of two."""
    contents = [message.content for message in messages if message.role in roles]
    return "\n".join(
        content
        if isinstance(content, str)
        else "".join(p.text for p in content or () if isinstance(p, TextPart))
        for content in contents
    )


def images_of(messages: list[ChatMessage]) -> list[str]:
    """The data of all images, in order."""
    contents = [message.content for message in messages if isinstance(message.content, list)]
    parts = [part for content in contents for part in content]
    return [part.image_url.url.partition(",")[2] for part in parts if isinstance(part, ImagePart)]


def in_order(marks: list[str], words: str) -> bool:
    """Whether every mark is there once, one after the other."""
    places = [words.find(mark) for mark in marks]
    return -1 not in places and places == sorted(places) and all(words.count(mark) == 1 for mark in marks)


@given(loops(), TEMPLATES)
def test_no_text_is_lost_and_the_order_holds(loop: Loop, capabilities: EngineCapabilities) -> None:
    messages = of(loop.messages, capabilities).chat.messages
    calls = [call.function.arguments for message in messages for call in message.tool_calls or ()]
    # where a template takes no user turn behind a result, its words are in the result
    askers = {"user", "system"} if capabilities.user_after_result else {"user", "system", "tool"}
    assert in_order(loop.asked, words_of(messages, *askers))
    assert in_order(loop.answered, words_of(messages, "assistant"))
    assert in_order(loop.thought, "".join(message.reasoning or "" for message in messages))
    assert in_order(loop.results, words_of(messages, "tool"))
    assert in_order(loop.arguments, "".join(calls))
    assert sorted(images_of(messages)) == sorted(loop.images)


@given(loops(), TEMPLATES)
def test_every_call_is_followed_by_its_results(loop: Loop, capabilities: EngineCapabilities) -> None:
    messages = of(loop.messages, capabilities).chat.messages
    found: list[str | None] = []
    expected: list[str | None] = []
    for place, message in enumerate(messages):
        ids = [call.id for call in message.tool_calls or ()]
        expected += ids
        found += [answer.tool_call_id for answer in messages[place + 1 : place + 1 + len(ids)]]
    assert found == expected
    assert [message.tool_call_id for message in messages if message.role == "tool"] == expected


def asked_of(messages: list[ChatMessage]) -> set[str]:
    """The abilities that a template must have for these messages."""
    needed = set()
    for place, message in enumerate(messages):
        calls = message.tool_calls or []
        if message.role == "system":
            needed.add("system_in_place" if place else "system_at_head")
        if len(calls) > 1:
            needed.add("calls_together")
        if calls and message.content is None:
            needed.add("calls_without_text")
    return needed


@given(loops())
def test_a_template_gets_nothing_that_it_refuses(loop: Loop) -> None:
    for capabilities in ALL_TEMPLATES:
        needed = asked_of(of(loop.messages, capabilities).chat.messages)
        assert {name for name in needed if not getattr(capabilities, name)} == set()


@given(loops(), TEMPLATES)
def test_the_system_prompt_is_what_the_model_reads_first(
    loop: Loop, capabilities: EngineCapabilities
) -> None:
    first = of(loop.messages, capabilities).chat.messages[0]
    assert first.role == ("system" if capabilities.system_at_head else "user")
    assert words_of([first], first.role).startswith("top")


# --- the prefix of the next turn ---


@given(loops(), TEMPLATES)
def test_each_request_is_the_beginning_of_the_next(loop: Loop, capabilities: EngineCapabilities) -> None:
    requests = [of(loop.messages[:end], capabilities).chat for end in loop.ends]
    for earlier, later in pairwise(requests):
        assert later.messages[: len(earlier.messages)] == earlier.messages
        assert [bytes(t.function.parameters) for t in later.tools] == [
            bytes(t.function.parameters) for t in earlier.tools
        ]


# --- what is the same to the API ---


def restyled(draw: st.DrawFn, value: Any) -> Any:
    """The same content in another spelling: bare strings, cache marks, key order, false for absent."""
    if isinstance(value, list):
        return [restyled(draw, item) for item in value]
    if not isinstance(value, dict):
        return value
    block = {key: item if key == "input" else restyled(draw, item) for key, item in value.items()}
    kind = block.get("type")
    if kind in {"text", "tool_use", "tool_result", "image"} and draw(st.booleans()):
        block["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    if kind == "tool_result" and not block["is_error"] and draw(st.booleans()):
        del block["is_error"]
    content = block.get("content")
    if kind == "search_result":
        return dict(draw(st.permutations(list(block.items()))))
    if isinstance(content, str):
        block["content"] = [text(content)]
    elif isinstance(content, list) and len(content) == 1 and content[0]["type"] == "text":
        block["content"] = content[0]["text"]
    return dict(draw(st.permutations(list(block.items()))))


@st.composite
def spellings(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One conversation, spelled twice."""
    messages = draw(loops()).messages
    return messages, restyled(draw, messages)


@given(spellings(), TEMPLATES)
def test_spellings_of_one_conversation_are_one_request(
    pair: tuple[list[dict[str, Any]], list[dict[str, Any]]], capabilities: EngineCapabilities
) -> None:
    assert of(pair[0], capabilities).chat.messages == of(pair[1], capabilities).chat.messages


@given(st.lists(st.sampled_from(["user", "assistant", "system"]), min_size=1, max_size=6))
def test_splitting_a_turn_changes_nothing(roles: list[str]) -> None:
    make = {"user": user, "assistant": assistant, "system": system}
    split: list[dict[str, Any]] = [user("first")]
    joined: list[dict[str, Any]] = [user(text("first"))]
    for number, role in enumerate([*roles, "user"]):
        block = text(f"text {number}")
        split.append(make[role](block))
        if joined[-1]["role"] == role:
            joined[-1]["content"].append(block)
        else:
            joined.append(make[role](block))
    assert of(split, able_but()).chat.messages == of(joined, able_but()).chat.messages
