"""Turn by turn, the prompt only grows; where a template breaks that, the table says why."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dragoman.wire.openai import ChatMessage, ChatRequest, ChatTool, FunctionSpec
from tests.prefix import page, table
from tests.prefix.comparing import CAUSES, UNEXPLAINED, extends, findings, not_extended
from tests.prefix.scenarios import SCENARIOS

FAMILIES = [
    "Qwen3",
    "Llama-3",
    "Mistral",
    "DeepSeek",
    "gemma",
    "gpt-oss",
    "GLM",
    "Kimi",
    "granite",
    "MiniMax",
]


@pytest.mark.clients
@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_prompts_of_a_conversation_only_grow(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    recorded = scenario.run(tmp_path)
    told = {
        conversation: {habits: len(turns) for habits, turns in kinds.items()}
        for conversation, kinds in recorded.conversations.items()
    }
    assert {conversation: set(counts.values()) for conversation, counts in told.items()} == {
        conversation: {count} for conversation, count in scenario.turns.items()
    }
    # what Dragoman hands to an engine extends what it handed over before, whatever the template
    faults = [
        f"{conversation}, {habits}: {fault}"
        for conversation, kinds in recorded.conversations.items()
        for habits, turns in kinds.items()
        for fault in not_extended(turns, joins_results=not habits.user_after_result)
    ]
    assert faults == []
    found = {
        each.name: table.measured(each, name, recorded.of(each.habits)) for each in table.all_templates()
    }
    assert found == {each: row.of(name) for each, row in table.listed().items()}


def test_the_table_knows_every_template_and_its_habits() -> None:
    found = {template.name: table.facts(template) for template in table.all_templates()}
    assert found == {
        name: table.Row(system_turns=row.system_turns, content=row.content, otherwise=row.otherwise)
        for name, row in table.listed().items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_great_families_are_there(family: str) -> None:
    assert [name for name in table.listed() if family in name] != []


def test_every_break_has_a_cause() -> None:
    assert {cause for row in table.listed().values() for cause in row.breaks} == CAUSES.keys()


def test_every_refusal_has_a_reason() -> None:
    explained = {page.reason_of(words) for row in table.listed().values() for words in row.refused}
    assert explained == set(page.REASONS.values())


def test_every_place_is_one_of_a_scenario() -> None:
    places = {
        place.partition(":")[0].partition(",")[0]
        for row in table.listed().values()
        for found in (row.breaks, row.refused)
        for where in found.values()
        for place in where
    }
    assert places == SCENARIOS.keys()


def test_the_table_is_written_as_it_is_read() -> None:
    assert table.written(table.listed()) == table.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("last", "now", "grows"),
    [
        ("<|im_start|>user\nHi<|im_end|>\n", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", True),
        ("[INST]Hi[/INST]", "[INST]Hi[/INST]Hello", True),
        ("Hi", "Hi", True),
        ("Hi there", "Hi", False),
        ("<think>a</think>b", "b", False),
        ("Hi", "Hither", False),
        ("one\n", "one\n\ntwo", False),
        ("done.", "done.\n", False),
        ("12", "123", False),
        ("x" * 1000 + "\n", "x" * 1000 + "\nUser: y", True),
    ],
)
def test_a_prompt_grows_by_whole_tokens(last: str, now: str, grows: bool) -> None:
    assert extends(last, now) == grows


def chat(*contents: str, tools: tuple[str, ...] = ()) -> ChatRequest:
    """A request whose first turn is the system prompt."""
    return ChatRequest(
        model="m",
        messages=[
            ChatMessage(role="user" if number else "system", content=content)
            for number, content in enumerate(contents)
        ],
        tools=[ChatTool(function=FunctionSpec(name=name, parameters=msgspec.Raw(b"{}"))) for name in tools],
    )


class Prompts:
    """A renderer that knows its prompts beforehand; None is refused."""

    refusal = "not me"

    def __init__(self, *prompts: str | None) -> None:
        self._left = list(prompts)

    def prompt(self, request: ChatRequest) -> str | None:
        """The next one."""
        return self._left.pop(0)

    def extends(self, last: str, now: str) -> bool:
        """By pieces: it has no tokenizer."""
        return extends(last, now)


LONG = "and a good many words that make the place where two prompts part stand far from the end of the first"


@pytest.mark.parametrize(
    ("cause", "last", "now"),
    [
        ("system", f"[INST]Be brief.\n{LONG}[/INST]", "[INST]Hi[/INST]Hello.</s>[INST]Be brief.\n"),
        ("tools", f"[AVAILABLE_TOOLS][{LONG}][INST]Hi", "[INST]Hi[/INST]Hello.</s>[AVAILABLE_TOOLS][]"),
        ("joins", "<a>one.", "<a>one.\n\nUser:"),
        ("tail", "<a>one.<end>", "<a>one.<b>two.<end>"),
        ("tail", f"<a>one.{LONG}", f"<a>one.<b>two.{LONG}"),
        ("thinking", f"<ai><think>A thought.</think>{LONG}", f"<ai>{LONG}<user>"),
        (UNEXPLAINED, f"<a>one {LONG}", f"<a>two {LONG}, again"),
    ],
)
def test_a_break_shows_its_cause(cause: str, last: str, now: str) -> None:
    request = chat("Be brief.", "Hi")
    found = findings(Prompts(last, now), [request, request])
    assert (found.breaks, found.refused) == ({cause: [2]}, {})


def test_a_tool_that_is_loaded_is_a_cause_of_its_own() -> None:
    before, request = chat("Be brief.", "Hi there"), chat("Be brief.", "Hi there", "Go on")
    request.loaded_tools = chat("", tools=("late",)).tools
    prompts = f"[]{LONG}<user>Hi there", f"[late]{LONG}<user>Hi there<user>Go on"
    assert findings(Prompts(*prompts), [before, request]).breaks == {"loaded": [2]}
    assert findings(Prompts(*prompts), [request, request]).breaks == {UNEXPLAINED: [2]}


def test_a_refused_turn_is_no_break_and_the_next_one_is_not_compared() -> None:
    request = chat("Be brief.", "Hi")
    found = findings(Prompts("<a>", None, "<b>", "<b><c>"), [request] * 4)
    assert (found.breaks, found.refused) == ({}, {"not me": [2]})


@pytest.mark.parametrize(
    ("last", "now", "faults"),
    [
        (chat("S", "one"), chat("S", "one", "two"), []),
        (chat("S", "one", tools=("a",)), chat("S", "one", "two", tools=("a", "b")), ["tools of turn 2"]),
        (chat("S", "one"), chat("S", "other", "two"), ["messages of turn 2"]),
        (chat("S", "one"), chat("S", "one"), ["messages of turn 2"]),
        (chat("S", "one", tools=("a",)), chat("S", "one", "two", tools=("a",)), []),
    ],
)
def test_requests_that_do_not_extend_each_other_are_found(
    last: ChatRequest, now: ChatRequest, faults: list[str]
) -> None:
    assert list(not_extended([last, now])) == faults


@pytest.mark.parametrize(
    ("content", "faults"),
    [("found\nGo on", []), ("found", ["messages of turn 2"]), ("other\nGo on", ["messages of turn 2"])],
)
def test_a_result_grows_only_where_a_users_words_join_it(content: str, faults: list[str]) -> None:
    last, now = chat("S", "one"), chat("S", "one")
    last.messages.append(ChatMessage(role="tool", content="found", tool_call_id="c"))
    now.messages.append(ChatMessage(role="tool", content=content, tool_call_id="c"))
    assert list(not_extended([last, now], joins_results=True)) == faults
    assert list(not_extended([last, now])) == ["messages of turn 2"]
