"""A conversation over a template that refuses all system turns: it is rendered, and only grows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.prefix import table
from tests.prefix.comparing import extends
from tests.prefix.rendering import Template
from tests.support.translation import assistant, system, translated, user

TURNS = [
    user("What is the time?"),
    system("Answer in one line."),
    assistant("It is noon."),
    user("And the day?"),
    assistant("Thursday."),
    system("Answer in two lines now."),
    user("And the year?"),
]
# Requests of one conversation: the lengths of their messages.
ENDS = (2, 4, 7)
PROMPT = "You are a clock."


def template(name: str) -> Template:
    """One of the templates that are here."""
    return next(each for each in table.all_templates() if each.name == name)


def prompts(name: str) -> list[str | None]:
    """The prompts of the conversation as it goes on."""
    renderer = template(name)
    changes: dict[str, Any] = {"capabilities": renderer.capabilities}
    requests = [translated(changes, messages=TURNS[:end], system=PROMPT).chat for end in ENDS]
    return [renderer.prompt(request) for request in requests]


NAMES = [name for name, row in table.listed().items() if row.system_turns == table.NO_SYSTEM]


def test_there_is_such_a_template() -> None:
    assert "google-gemma-2-2b-it" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_conversation_is_rendered_and_only_grows(name: str) -> None:
    found = [str(prompt) for prompt in prompts(name)]
    assert [extends(last, now) for last, now in pairwise(found)] == [True, True]
    for prompt in found:
        assert prompt.count(PROMPT) == 1
        assert prompt.index(PROMPT) < prompt.index("What is the time?")
    assert found[-1].index("And the year?") > found[-1].index("Answer in two lines now.") > 0


def test_it_is_the_template_that_refuses_the_system_prompt_where_it_stands() -> None:
    renderer = template("google-gemma-2-2b-it")
    request = translated(messages=TURNS[:1], system=PROMPT).chat
    assert renderer.prompt(request) is None
    assert renderer.refusal == "System role not supported"
