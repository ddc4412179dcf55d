"""Field cases, part A: system turns inside the conversation, and prompts whose beginning must not move."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage
from tests.prefix.rendering import FOLDER, Template
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask
from tests.support.translation import (
    able_but,
    assistant,
    call,
    chat,
    plain,
    result,
    system,
    text,
    tool,
    translated,
    user,
)

HEADER = "x-anthropic-billing-header: cc_version=2.1.330.{}; cc_entrypoint=cli; cch={};"
MERGING = able_but(system_in_place=False)
# The templates of the models that the cases name, or of their next relatives.
QWEN, DEEPSEEK, FLASH = "Qwen3.5-4B", "deepseek-ai-DeepSeek-V4", "deepseek-ai-DeepSeek-V4-Flash-0731"
OF_ONE_HEAD = [QWEN, DEEPSEEK, FLASH]
USER = {QWEN: "<|im_start|>user", DEEPSEEK: "<\uff5cUser\uff5c>", FLASH: "<\uff5cUser\uff5c>"}
ASSISTANT = {
    QWEN: "<|im_start|>assistant",
    DEEPSEEK: "<\uff5cAssistant\uff5c>",
    FLASH: "<\uff5cAssistant\uff5c>",
}
ASKED = [user("Find it.")]
CALLED = [*ASKED, assistant(call()), user(result())]
ANSWERED = [*CALLED, assistant("Found."), user("Thanks.")]
BOTH = pytest.mark.parametrize("capabilities", [able_but(), MERGING], ids=["in place", "merged"])


def head_of(value: Any) -> str | list[Any] | None:
    """The system prompt that the engine gets."""
    return translated(system=value).chat.messages[0].content


def prompted(name: str, *turns: dict[str, Any]) -> str:
    """What a model with this template reads when it is to answer; the engine was asked what it takes."""
    template = Template(FOLDER / f"{name}.jinja")
    changes = {"capabilities": template.habits.capabilities}
    chat = translated(changes, system="Top.", messages=turns, tools=[tool()]).chat
    prompt = template.prompt(chat, generates=True)
    assert prompt is not None, template.refusal
    return prompt


def growing(rounds: int) -> list[list[dict[str, Any]]]:
    """The requests of a tool loop as Claude Code sends them: a system turn ends each of them."""
    turns: list[dict[str, Any]] = [user("go"), system("Environment: linux.")]
    requests = [list(turns)]
    for number in range(rounds):
        call_id = f"toolu_{number}"
        turns += [assistant(call(call_id)), user(result(call_id, str(number))), system(f"Note {number}.")]
        requests.append(list(turns))
    return requests


def test_case_a1_a2_a_system_turn_in_messages_is_accepted(serve: Serve) -> None:
    assert ask(serve().url, REQUEST | {"messages": [user("a"), system("s")]}).status_code == 200


def test_case_a3_a_template_that_takes_system_first_only_gets_no_other(serve: Serve) -> None:
    served = serve(capabilities=MERGING)
    turns = [user("a"), system("s"), assistant("b"), system("t"), user("c")]
    assert ask(served.url, REQUEST | {"system": "top", "messages": turns}).status_code == 200
    assert [message.role for message in served.engine.calls[0].request.messages] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


@BOTH
def test_case_a4_a5_the_tools_are_the_same_with_and_without_a_system_turn(
    capabilities: EngineCapabilities,
) -> None:
    changes = {"capabilities": capabilities}
    with_turn = translated(changes, messages=[user("a"), system("s")], tools=[tool()]).chat.tools
    without = translated(changes, messages=[user("a")], tools=[tool()]).chat.tools
    assert [one.function.name for one in with_turn] == [tool()["name"]]
    assert msgspec.json.encode(with_turn) == msgspec.json.encode(without)


@pytest.mark.parametrize("name", OF_ONE_HEAD)
@pytest.mark.parametrize("turns", [ASKED, CALLED, ANSWERED], ids=["asked", "called", "answered"])
def test_case_a4_a5_a_system_turn_adds_its_words_where_it_stands_and_nothing_else(
    name: str, turns: list[dict[str, Any]]
) -> None:
    """On the templates of the cases: Qwen's refuses such a turn, DeepSeek's moves it before all others."""
    note = "<system-reminder>\nBe brief.\n</system-reminder>"
    prompt = prompted(name, *turns, system("Be brief."), user("Go on."))
    assert prompt == prompted(name, *turns, user(text(note), text("Go on.")))
    # the tools, too, stand where they stood
    before = prompted(name, *turns, user("Go on."))
    assert prompt.replace(note + "\n", "", 1) == before
    assert before.count('"name": "f"') == prompt.count('"name": "f"') == 1


@pytest.mark.parametrize("name", OF_ONE_HEAD)
def test_case_a4_a5_the_template_takes_no_system_turn_itself(name: str) -> None:
    """What these cases rest on, seen by asking as an engine is asked."""
    template = Template(FOLDER / f"{name}.jinja")
    assert template.capabilities.system_in_place is False
    in_place = translated({"capabilities": able_but()}, messages=[user("aaa"), system("sss")]).chat
    prompt = template.prompt(in_place) or "refused"
    assert not 0 <= prompt.find("aaa") < prompt.find("sss")


@BOTH
def test_case_a6_a7_a9_each_prompt_is_the_beginning_of_the_next(capabilities: EngineCapabilities) -> None:
    prompts = [chat(*turns, capabilities=capabilities) for turns in growing(5)]
    later = prompts[1:]
    assert [prompt[: len(before)] for before, prompt in zip(prompts, later, strict=False)] == prompts[:-1]


def test_case_a8_the_template_that_decides_is_the_engines() -> None:
    """The capability comes from the engine that serves, by a probe; the translation only obeys it."""
    turns = [user("a"), system("s")]
    roles = [[message.role for message in chat(*turns, capabilities=one)] for one in (able_but(), MERGING)]
    assert roles == [["user", "system"], ["user"]]


def test_case_a10_system_user_system_fits_a_strict_template() -> None:
    roles = [message.role for message in chat(system("a"), user("b"), system("c"), capabilities=MERGING)]
    assert roles == ["system", "user"]


def test_case_a11_a_conversation_that_ends_on_a_system_turn_can_end_on_the_user() -> None:
    last = chat(user("a"), system("s"), capabilities=MERGING)[-1]
    assert (last.role, last.content) == ("user", "a\n<system-reminder>\ns\n</system-reminder>")


@pytest.mark.parametrize("name", OF_ONE_HEAD)
@pytest.mark.parametrize("turns", [ASKED, CALLED, ANSWERED], ids=["asked", "called", "answered"])
def test_case_a11_the_model_is_asked_to_answer_the_user_after_a_last_system_turn(
    name: str, turns: list[dict[str, Any]]
) -> None:
    prompt = prompted(name, *turns, system("Be brief."))
    head, words, end = prompt.rpartition("<system-reminder>\nBe brief.\n</system-reminder>")
    assert words
    # as where a user speaks last: the mark of the user's turn before, the mark of an answer after
    assert end == prompted(name, user("Go on.")).rpartition("Go on.")[2]
    assert ASSISTANT[name] in end
    assert head.rfind(USER[name]) > head.rfind(ASSISTANT[name])


@BOTH
def test_case_a12_a_system_turn_does_not_part_a_call_from_its_result(
    capabilities: EngineCapabilities,
) -> None:
    turns = [user("a"), assistant(call()), system("s"), user(result())]
    roles = [message.role for message in chat(*turns, capabilities=capabilities)]
    assert roles[:3] == ["user", "assistant", "tool"]
    assert len(roles) == 4


def test_case_a13_prompts_do_not_depend_on_the_billing_header() -> None:
    prompts = [head_of([text(HEADER.format(one, one)), text("You are")]) for one in ("a5f", "000")]
    assert prompts == ["You are", "You are"]


@pytest.mark.parametrize("between", ["", "\n"])
def test_case_a14_only_the_header_is_removed(between: str) -> None:
    assert head_of([text(HEADER.format("a5f", "a5145") + between + "You are Claude Code.")]) == (
        "You are Claude Code."
    )


def test_case_a15_fields_may_drift_and_a_user_block_that_looks_alike_stays() -> None:
    drifted = "x-anthropic-billing-header: cc_version=9; cc_entrypoint=sdk-py; cc_is_subagent=true; new=1;"
    assert head_of([text(drifted), text("You are")]) == "You are"
    assert chat(user(drifted))[0].content == drifted


def test_case_a16_the_header_of_a_system_turn_in_the_middle_goes_too() -> None:
    turns = [[user("a"), system(text(HEADER.format(one, one) + "\nBe brief."))] for one in ("a5f", "000")]
    assert chat(*turns[0]) == chat(*turns[1]) == chat(user("a"), system("Be brief."))


def test_case_a17_the_keys_of_arguments_keep_their_order() -> None:
    raw = msgspec.Raw(b'{"z":1,"a":{"y":2,"b":3},"m":[{"d":4,"c":5}]}')
    turn = assistant(call() | {"input": raw})
    calls = chat(user("a"), turn, user(result()))[1].tool_calls or []
    assert [one.function.arguments for one in calls] == [bytes(raw).decode()]


def test_case_a18_the_keys_of_schemas_keep_their_order() -> None:
    raw = msgspec.Raw(b'{"type":"object","z":1,"properties":{"b":{},"a":{}},"$schema":"x"}')
    tools = translated(tools=[tool(input_schema=raw)]).chat.tools
    assert bytes(tools[0].function.parameters) == bytes(raw)


@BOTH
def test_case_a19_a_reminder_that_counts_down_changes_only_the_end(capabilities: EngineCapabilities) -> None:
    def with_reminder(left: int) -> list[ChatMessage]:
        return chat(user("a"), assistant("b"), user("c"), system(f"{left} left"), capabilities=capabilities)

    assert with_reminder(10)[:2] == with_reminder(9)[:2]
    assert "10 left" in str(plain(with_reminder(10))[2:])


def test_case_a20_a_cache_salt_is_accepted(serve: Serve) -> None:
    assert ask(serve().url, REQUEST | {"cache_salt": "x"}).status_code == 200
