"""The evaluation of tool calls: its set is sound, and its scores mean what they say. No model is loaded."""

from __future__ import annotations

import re

import msgspec
import pytest

from bench.tools import cases
from bench.tools.__main__ import Evaluation, print_table, result_of
from bench.tools.asking import Client
from bench.tools.cases import Check, Said
from dragoman import ScriptedInferenceEngine
from dragoman.engines.scripted import answer
from tests.support.serving import running_server

SET = cases.load()
NEEDED = [prompt for prompt in SET.prompts if prompt.tool]


def test_the_set_has_ten_prompts_that_need_one_of_five_tools_and_four_that_need_none() -> None:
    assert (len(SET.tools), len(NEEDED), len(SET.prompts) - len(NEEDED)) == (5, 10, 4)
    assert {prompt.tool for prompt in NEEDED} == {tool.name for tool in SET.tools}
    assert len({prompt.name for prompt in SET.prompts}) == 14


@pytest.mark.parametrize("prompt", NEEDED, ids=lambda prompt: prompt.name)
def test_the_example_of_a_prompt_is_right_by_its_own_rules(prompt: cases.Prompt) -> None:
    assert cases.first_turn_right(SET, prompt, Said(calls=((prompt.tool, prompt.example),)))
    assert re.search(prompt.answer, prompt.result)
    assert not cases.first_turn_right(SET, prompt, Said(calls=((prompt.tool, {}),)))
    assert not cases.first_turn_right(SET, prompt, Said(text="I cannot do that."))


def test_only_the_needed_tool_once_is_right() -> None:
    prompt = NEEDED[0]
    right = (prompt.tool, prompt.example)
    for calls in (
        (right, right),
        (("read_file", prompt.example),),
        (("get_wether", prompt.example),),
        ((prompt.tool, {**prompt.example, "unit": "kelvin"}),),
    ):
        assert not cases.first_turn_right(SET, prompt, Said(calls=calls))


def test_words_are_right_where_no_tool_is_needed() -> None:
    prompt = next(prompt for prompt in SET.prompts if not prompt.tool)
    assert cases.first_turn_right(SET, prompt, Said(text="Hello."))
    for said in (
        Said(text=" "),
        Said(text="Hello.", calls=(("calculate", {"expression": "1"}),)),
        Said(text='{"name": "calculate", "arguments": {"expression": "1"}}'),
    ):
        assert not cases.first_turn_right(SET, prompt, said)
        assert not cases.second_turn_right(SET, said)


def test_a_check() -> None:
    assert Check(equals=3).holds({"n": 3}, "n")
    assert not Check(equals=1).holds({"n": True}, "n")
    assert not Check(equals=3).holds({}, "n")
    assert Check(equals=3, optional=True).holds({}, "n")
    assert Check(matches="^a").holds({"s": "ab"}, "s")
    assert not Check(matches="^a").holds({"s": 5}, "s")


def test_a_forced_call_is_valid_and_of_the_named_tool() -> None:
    said = Said(calls=(("calculate", {"expression": "1 + 1"}),))
    assert cases.forced_right(SET, said)
    assert cases.forced_right(SET, said, "calculate")
    assert not cases.forced_right(SET, said, "read_file")
    assert not cases.forced_right(SET, Said(text="2"))
    assert not cases.forced_right(SET, Said(calls=(("calculate", {"sum": 2}),)))


def test_an_evaluation_asks_everything_and_scores_it(capsys: pytest.CaptureFixture[str]) -> None:
    prompt, talk = NEEDED[0], SET.prompts[-1]
    right = answer(calls=[(prompt.tool, msgspec.json.encode(prompt.example).decode())])
    words = answer(f"It is {prompt.result}.")
    # each request is made whole and as a stream
    script = [
        script for one in (right, right, right, words, words, words, right, right) for script in (one, one)
    ]
    with running_server(ScriptedInferenceEngine(script, models=["m"])) as url:
        client = Client(url)
        evaluation = Evaluation(client, SET)
        evaluation.run(prompt, 0)
        evaluation.run(talk, 0)
    result = result_of(client, evaluation, aids=True)
    pairs = {"first": (2, 2), "any": (2, 2), "named": (2, 2)}
    assert result.scores == {**pairs, "second": (1, 1), "remind": (1, 1)}
    assert (result.grounded, result.miscounts, result.unlike, result.passed) == ((2, 2), [], [], True)
    print_table(result)
    said = capsys.readouterr().out
    assert "2 of 2 first answers right" in " ".join(said.split())
    assert said.endswith("passed\n")
