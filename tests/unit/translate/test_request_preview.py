"""The plain Chat Completions request, for people to read."""

from __future__ import annotations

import msgspec

from dragoman.translate.preview import chat_json
from tests.support.translation import assistant, tool, translated, user


def test_the_plain_request_reads_like_one() -> None:
    shown = chat_json(translated(tools=[tool(), tool("late", defer_loading=True)]).chat)
    assert shown.startswith(b'{\n  "model": "served",\n')
    assert [one["function"]["name"] for one in msgspec.json.decode(shown)["tools"]] == ["f"]


def test_a_continuation_is_shown() -> None:
    plain = msgspec.json.decode(chat_json(translated().chat))
    continued = msgspec.json.decode(chat_json(translated(messages=[user("a"), assistant("b")]).chat))
    assert continued.keys() - plain.keys() == {"add_generation_prompt", "continue_final_message"}
    assert (continued["add_generation_prompt"], continued["continue_final_message"]) == (False, True)
