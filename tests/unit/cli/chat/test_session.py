"""Conversations at a terminal, with real servers on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.cli.chat.answer import Shown
from dragoman.cli.chat.screen import TerminalScreen
from dragoman.cli.chat.session import Session
from dragoman.engines.scripted import Hang, Script, Step, answer, refuse, text_chunk, thinking_chunk
from dragoman.errors import OverloadedError
from tests.support.fake_openai import Answer, Cut, Pause, reply
from tests.unit.cli.chat.conftest import SSE, START, Talk, block, end, stream, text

Start = Callable[..., Talk]

TOOL = msgspec.Raw(b'{"name":"get_weather","input_schema":{"type":"object"}}')
PNG = b"\x89PNG\r\n\x1a\n...."


def call(index: int, name: str = "look", arguments: str = "{}") -> list[dict[str, Any]]:
    """The events of a call."""
    start = {"type": "tool_use", "id": f"id{index}", "name": name, "input": {}}
    return block(index, start, {"type": "input_json_delta", "partial_json": arguments})


# ---- with Dragoman ------------------------------------------------------------------


def test_a_conversation_goes_on_with_what_was_said(talk: Start) -> None:
    talking = talk([answer("Hello **Ada**.", thinking="A greeting."), answer("You said hello.")])
    talking.types("hello", "", "what did I say?")
    lines = talking.lines
    assert lines[0].startswith("m at http://127.0.0.1:")
    assert lines[1:4] == ["  A greeting.", "Hello Ada.", "m: 3 tokens read, 4 written"]
    assert "You said hello." in lines
    thinking, text_block = talking.turns[1]["content"]
    assert (thinking["type"], thinking["thinking"], bool(thinking["signature"])) == (
        "thinking",
        "A greeting.",
        True,
    )
    assert text_block["text"] == "Hello **Ada**."
    assert [turn["role"] for turn in talking.turns] == ["user", "assistant", "user", "assistant"]


def test_results_of_calls_are_typed_and_an_empty_one_is_an_error(talk: Start) -> None:
    calls = [
        ("get_weather", '{"city": "Paris"}'),
        ("get_weather", '{"city": "Tokyo", "note": "' + "x" * 40 + '"}'),
    ]
    talking = talk([answer("Let me see.", calls=calls), answer("18 degrees.")], tools=(TOOL,))
    talking.types("the weather?", "18 degrees", "", "thanks")
    assert '→ get_weather {"city": "Paris"}' in talking.lines
    assert talking.prompts[1:3] == [
        'result of get_weather {"city": "Paris"}> ',
        'result of get_weather {"city": "Tokyo", "note": "xxxxxxxxxxx…> ',
    ]
    first, second = talking.turns[2]["content"]
    assert first == {"type": "tool_result", "tool_use_id": first["tool_use_id"], "content": "18 degrees"}
    assert second["is_error"] is True
    assert "no result" in second["content"]
    assert [piece["id"] for piece in talking.turns[1]["content"][1:]] == [
        first["tool_use_id"],
        second["tool_use_id"],
    ]
    assert "18 degrees." in talking.lines


def test_ctrl_c_stops_an_answer_and_its_words_stay(talk: Start) -> None:
    steps: list[Step] = [thinking_chunk("Hm."), text_chunk("Once upon "), Hang()]
    talking = talk([Script(steps=steps), answer("Yes.")])
    press_when(talking, "Once")
    talking.types("a story", "go on")
    assert "Stopped." in talking.lines
    kept = talking.turns[1]["content"]
    assert [piece["type"] for piece in kept] == ["thinking", "text"]
    assert kept[1]["text"] == "Once upon "
    assert "Yes." in talking.lines


def press_when(talking: Talk, words: str) -> None:
    """Presses Ctrl-C as soon as the conversation has taken these words in."""

    class Watched(TerminalScreen):
        """The same screen, on which somebody looks."""

        def show(self, shown: Shown) -> None:
            super().show(shown)
            if words in getattr(shown, "text", ""):
                # the answer is then waited for again, as it is when somebody presses a key
                threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    talking.conversation.screen = Watched(talking.screen.console)


def test_ctrl_c_before_any_word_takes_the_question_back(talk: Start) -> None:
    talking = talk([Script(steps=[thinking_chunk("Hm."), Hang()]), answer("Yes.")])
    press_when(talking, "Hm.")
    talking.types("a story", "go on")
    assert [turn["role"] for turn in talking.turns] == ["user", "assistant"]
    assert talking.turns[0]["content"] == [{"type": "text", "text": "go on"}]


def test_ctrl_c_at_the_prompt_ends(talk: Start) -> None:
    talking = talk([])

    def pressed(_prompt: str) -> str:
        raise KeyboardInterrupt

    Session(talking.conversation, pressed).loop()
    assert talking.turns == []


def test_ctrl_c_while_models_are_listed_goes_back_to_the_prompt(talk: Start) -> None:
    talking = talk([])

    def pressed(coro: Any) -> Any:
        coro.close()
        raise KeyboardInterrupt

    talking.conversation.run = pressed
    talking.types("/model", "/help")
    assert "/image PATH" in talking.shown


def test_what_is_no_text_is_no_end(talk: Start) -> None:
    talking = talk([answer("Yes.")])
    lines: list[Any] = [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        "caf\udce9",
        EOFError(),
    ]

    def read(_prompt: str) -> str:
        line = lines.pop(0)
        if isinstance(line, str):
            return line
        raise line

    Session(talking.conversation, read).loop()
    assert "This line is no text in UTF-8." in talking.lines
    assert talking.turns[0]["content"][0]["text"] == "caf?"


def test_a_refusal_is_one_line_with_its_id_and_the_question_is_taken_back(talk: Start) -> None:
    talking = talk([refuse(OverloadedError("The engine is\nfull.")), answer("Yes.")])
    talking.types("hello", "again")
    line = next(line for line in talking.shown.splitlines() if "overloaded" in line)
    assert line.startswith("overloaded_error: The engine is full. (req_")
    assert [turn["role"] for turn in talking.turns] == ["user", "assistant"]


def test_an_unknown_model_is_said_as_the_server_says_it(talk: Start) -> None:
    talking = talk([answer("Yes.")])
    talking.types("/model other", "hello", "/model")
    assert "not_found_error: model: 'other' is not served here; there is m" in talking.shown
    assert "* other (not listed by this server)" in talking.lines
    assert "  m" in talking.lines


def test_commands(talk: Start, tmp_path: Path) -> None:
    (tmp_path / "my cat.png").write_bytes(PNG)
    talking = talk([answer("A cat."), answer("Two."), answer("New.")])
    talking.types(
        "/help",
        "/foo",
        f'/image "{tmp_path}/my cat.png"',
        "/image none.png",
        "what is it?",
        "/etc/hosts is a file, and @none.png is none",
        "/etc/hosts is a file",
        "/clear",
        "new",
        "/model",
        "/quit",
        "never",
    )
    shown = talking.shown
    for words in (
        "/image PATH",
        "/foo is no command; /help lists them",
        "goes with the next message.",
        "there is no file none.png",
        "A cat.",
        "All is forgotten.",
        "New.",
        "* m",
    ):
        assert words in shown
    assert shown.count("there is no file none.png") == 2
    assert [turn["content"] for turn in talking.turns[:1]] == [[{"type": "text", "text": "new"}]]
    assert "never" not in talking.prompts


def test_an_image_goes_before_the_words_once(talk: Start, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    talking = talk([answer("A cat."), answer("Yes.")])
    talking.types(f"/image {tmp_path}/cat.png", f"what is it, and @{tmp_path}/cat.png?", "sure?")
    assert [piece["type"] for piece in talking.turns[0]["content"]] == ["image", "image", "text"]
    assert [piece["type"] for piece in talking.turns[2]["content"]] == ["text"]


# ---- with any other server ----------------------------------------------------------------


def test_the_request_holds_what_was_asked_for(odd: Start) -> None:
    talking = odd(
        stream(START, *text("Hi."), *end()),
        model="big",
        max_tokens=77,
        system="Be short.",
        temperature=0.5,
        tools=(TOOL,),
    )
    talking.types("hello")
    assert talking.asked == [
        {
            "model": "big",
            "max_tokens": 77,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
            "system": "Be short.",
            "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}],
            "temperature": 0.5,
            "thinking": {"type": "adaptive", "display": "summarized"},
            "stream": True,
        }
    ]
    assert talking.fake is not None
    headers = talking.fake.seen[0].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("any", "2023-06-01")


def test_unknown_blocks_go_back_as_they_came(odd: Start) -> None:
    hologram = {"type": "hologram", "depth": [1, {"a": None}]}
    first = stream(START, {"type": "news"}, {"type": "ping"}, *block(0, hologram), *text("Hm.", 1), *end())
    talking = odd(first, stream(START, *text("Yes."), *end()))
    talking.types("one", "two")
    assert talking.asked[1]["messages"][1]["content"] == [hologram, {"type": "text", "text": "Hm."}]
    assert "[hologram]" in talking.lines


def test_a_stream_without_names_that_ends_as_openai_does_is_read(odd: Start) -> None:
    extra = {"type": "note", "error": None}
    talking = odd(stream(START, *text("Hi."), extra, end()[0], "[DONE]", names=False))
    talking.types("hello")
    assert "m: 7 tokens read, 3 written" in talking.lines


def test_a_server_that_pauses_its_turn_is_asked_to_go_on(odd: Start) -> None:
    search = block(0, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "x"}})
    talking = odd(stream(START, *search, *end("pause_turn")), stream(START, *text("Found."), *end()))
    talking.types("look it up")
    assert [turn["role"] for turn in talking.asked[1]["messages"]] == ["user", "assistant"]
    assert "Found." in talking.lines


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("max_tokens", "it reached --max-tokens"),
        ("model_context_window_exceeded", "/clear"),
        ("refusal", "refused"),
    ],
)
def test_why_an_answer_ended_early_is_said(odd: Start, reason: str, words: str) -> None:
    talking = odd(stream(START, *text("So"), *end(reason)))
    talking.types("hello")
    assert words in talking.shown


def test_a_cut_call_is_shown_and_asks_for_nothing(odd: Start) -> None:
    talking = odd(stream(START, *text("So."), *call(1, arguments='{"a": "b'), *end("max_tokens")))
    talking.types("hello")
    assert '→ look {"a": "b (it was cut)' in talking.lines
    assert talking.prompts == ["> ", "> "]


def test_a_failure_after_a_result_keeps_the_result(odd: Start) -> None:
    failed = {"type": "error", "error": {"type": "api_error", "message": "Gone."}, "request_id": "req_1"}
    talking = odd(
        stream(START, *call(0), *end("tool_use")), stream(START, failed), stream(START, *text("Yes."), *end())
    )
    talking.types("hello", "the result", "go on")
    assert "api_error: Gone. (req_1)" in talking.lines
    roles = [turn["role"] for turn in talking.asked[2]["messages"]]
    assert roles == ["user", "assistant", "user", "user"]
    assert talking.asked[2]["messages"][2]["content"][0]["content"] == "the result"


def test_words_of_an_answer_that_broke_stay(odd: Start) -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Full."}}
    talking = odd(stream(START, *text("Half"), failed), stream(START, *text("Yes."), *end()))
    talking.types("hello", "again")
    assert "overloaded_error: Full." in talking.lines
    assert talking.asked[1]["messages"][1]["content"] == [{"type": "text", "text": "Half"}]


def test_a_model_that_takes_no_thinking_is_asked_without_from_then_on(odd: Start) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "thinking.type: no"}}
    good = stream(START, *text("Yes."), *end())
    talking = odd(reply(error, 400), good, good)
    talking.types("hello", "again")
    assert ["thinking" in body for body in talking.asked] == [True, False, False]
    assert "goes on without" in talking.shown
    assert talking.lines.count("Yes.") == 2


def test_another_400_is_not_tried_again(odd: Start) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: no"}}
    talking = odd(reply(error, 400, request_id="req_9"))
    talking.types("hello")
    assert "invalid_request_error: messages: no (req_9)" in talking.lines
    assert talking.turns == []


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (Answer(status=502, content_type="text/html", pieces=[b"<html>"]), "HTTP 502 Bad Gateway"),
        (reply({"type": "message"}), "answers with application/json and no event stream"),
        (stream(START), "the answer ended before it was complete"),
        (stream(START, Cut()), "cut the connection in the middle"),
        (stream("no json"), "an event that cannot be read"),
        (Answer(pieces=[b"data: {" + b"x" * (17 << 20)], content_type=SSE), "an event that is too large"),
        (Answer(pieces=[Cut()], silent=True), "cannot be reached: Server disconnected"),
    ],
)
def test_what_is_no_answer_is_said_in_one_line(odd: Start, answered: Answer, words: str) -> None:
    talking = odd(answered)
    talking.types("hello")
    found = [line for line in talking.shown.splitlines() if words in line]
    assert len(found) == 1
    assert talking.turns == []


def test_a_server_that_lists_no_models_like_this_api(odd: Start, runner: asyncio.Runner) -> None:
    talking = odd()
    assert talking.fake is not None
    for answered, words in (
        (reply(["a"]), "does not list its models"),
        (reply({"detail": "no"}, 404), "HTTP 404 Not Found"),
        (Answer(pieces=[Cut()], silent=True), "cannot be reached"),
    ):
        talking.fake.routes["/v1/models?limit=1000"] = answered
        talking.types("/model")
        assert words in talking.shown
    talking.client.silence = 0.1
    runner.run(talking.client.aclose())
    talking.fake.routes["/v1/models?limit=1000"] = Answer(pieces=[Pause(1.0)], silent=True)
    talking.types("/model")
    assert "does not answer in time" in talking.lines[-1]
    runner.run(talking.fake.stop())
    talking.types("/model")
    assert "cannot be reached: " in talking.lines[-1]


def test_a_result_that_is_no_text_is_an_error_and_the_conversation_goes_on(talk: Start) -> None:
    talking = talk([answer("", calls=[("get_weather", "{}")]), answer("A pity.")], tools=(TOOL,))
    lines: list[Any] = ["the weather?", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), EOFError()]

    def read(_prompt: str) -> str:
        line = lines.pop(0)
        if isinstance(line, str):
            return line
        raise line

    Session(talking.conversation, read).loop()
    assert "This line is no text in UTF-8. The model is told that there is no result." in talking.lines
    assert talking.turns[2]["content"][0]["is_error"] is True
    assert "A pity." in talking.lines
