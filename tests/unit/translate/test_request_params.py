"""Parameters: limits, sampling, stops, thinking, effort, structured output, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError, ThreadUnsupportedError
from dragoman.wire.openai import Reasoning
from tests.support.translation import SCHEMA, able_but, assistant, counted, result, system, translated, user

FILLING = able_but(fills_context=True, context_length=1000)


def refusal(changes: dict[str, Any] | None = None, **fields: Any) -> str:
    """The message of the refusal of a request with these fields."""
    with pytest.raises(InvalidRequestError) as refused:
        translated(changes, **fields)
    return refused.value.message


def test_what_was_not_said_is_not_said() -> None:
    chat = translated().chat
    said = (chat.temperature, chat.top_p, chat.top_k, chat.stop, chat.response_format, chat.tool_choice)
    assert said == (None, None, None, [], None, None)


def test_sampling_is_passed_on() -> None:
    chat = translated(temperature=0, top_p=0.5, top_k=7).chat
    assert (chat.temperature, chat.top_p, chat.top_k) == (0.0, 0.5, 7)


def test_a_top_k_of_zero_is_no_cut() -> None:
    assert translated(top_k=0).chat.top_k is None


def test_numbers_beyond_what_engines_can_count_are_their_largest() -> None:
    translation = translated({"capabilities": able_but(context_length=None)}, top_k=10**30, max_tokens=10**30)
    assert (translation.chat.top_k, translation.chat.max_tokens) == (2**31 - 1, 2**31 - 1)
    assert translation.max_tokens == 10**30


def test_the_name_for_the_engine_and_the_keys_for_routing_come_from_the_options() -> None:
    chat = translated({"request_id": "req_1", "placement_key": "k"}).chat
    assert (chat.model, chat.request_id, chat.placement_key) == ("served", "req_1", "k")


@pytest.mark.parametrize(
    ("capabilities", "asked", "sent"),
    [
        (able_but(), 64, 64),
        (able_but(), 0, 1),
        (able_but(), 10**9, 10**9),
        (FILLING, 999, 999),
        (FILLING, 1000, None),
        (FILLING, 32000, None),
        (able_but(fills_context=True, context_length=None), 32000, 32000),
    ],
)
def test_max_tokens(capabilities: Any, asked: int, sent: int | None) -> None:
    translation = translated({"capabilities": capabilities}, max_tokens=asked)
    assert (translation.max_tokens, translation.chat.max_tokens) == (asked, sent)


def test_a_count_has_no_limit() -> None:
    translation = counted()
    assert (translation.max_tokens, translation.chat.max_tokens) == (0, None)


def test_any_number_of_stop_sequences() -> None:
    stops = [f"stop {n}" for n in range(20)]
    assert translated(stop_sequences=stops).chat.stop == stops
    assert translated(stop_sequences=None).chat.stop == []


@pytest.mark.parametrize("stop", ["", " ", "\n\t"])
def test_a_stop_sequence_has_something_to_find(stop: str) -> None:
    words = "stop_sequences.1: each stop sequence must contain non-whitespace"
    assert refusal(stop_sequences=["a", stop]) == words


# --- thinking ---


ENABLED = {"type": "enabled", "budget_tokens": 2048}
LONG: dict[str, Any] = {"max_tokens": 4096}


@pytest.mark.parametrize(
    ("thinking", "reasoning", "display"),
    [
        (None, Reasoning(enabled=False), "off"),
        ({"type": "disabled"}, Reasoning(enabled=False), "off"),
        ({"type": "between_tools"}, Reasoning(enabled=False), "off"),
        ({"type": "adaptive"}, Reasoning(enabled=True), "summarized"),
        ({"type": "adaptive", "display": "summarized"}, Reasoning(enabled=True), "summarized"),
        ({"type": "adaptive", "display": "updates"}, Reasoning(enabled=True), "summarized"),
        ({"type": "adaptive", "display": "omitted"}, Reasoning(enabled=True), "omitted"),
        (ENABLED, Reasoning(enabled=True, budget_tokens=2048), "summarized"),
        (ENABLED | {"display": "omitted"}, Reasoning(enabled=True, budget_tokens=2048), "omitted"),
    ],
)
def test_every_type_and_display_of_thinking(thinking: Any, reasoning: Reasoning, display: str) -> None:
    for translation in (translated(thinking=thinking, **LONG), counted(thinking=thinking)):
        assert translation.chat.reasoning == reasoning
        assert translation.display == display


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}, {"type": "adaptive"}, ENABLED])
def test_a_model_without_a_switch_is_told_nothing_of_it(thinking: Any) -> None:
    changes = {"capabilities": able_but(reasoning_switch=False)}
    assert translated(changes, thinking=thinking, **LONG).chat.reasoning.enabled is None


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}, {"type": "adaptive"}, ENABLED])
def test_a_model_that_does_not_reason_is_told_nothing(thinking: Any) -> None:
    changes = {"capabilities": able_but(reasoning=False)}
    fields = LONG | {"thinking": thinking, "output_config": {"effort": "high"}}
    assert translated(changes, **fields).chat.reasoning == Reasoning()


def test_a_budget_has_bounds() -> None:
    assert refusal(thinking=ENABLED | {"budget_tokens": 1023}, **LONG).startswith("thinking.budget_tokens: ")
    assert refusal(thinking=ENABLED, max_tokens=2048).startswith("thinking.budget_tokens: `max_tokens` must")
    assert translated(thinking=ENABLED, max_tokens=2049).chat.reasoning.budget_tokens == 2048


def test_a_budget_may_pass_max_tokens_with_interleaved_thinking_and_in_a_count() -> None:
    assert translated({"interleaved_thinking": True}, thinking=ENABLED).chat.reasoning.budget_tokens == 2048
    assert counted(thinking=ENABLED).chat.reasoning.budget_tokens == 2048


@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max", None])
def test_effort_is_passed_on(effort: str | None) -> None:
    assert translated(output_config={"effort": effort}).chat.reasoning.effort == effort


def test_the_latest_system_turn_that_sets_an_effort_holds() -> None:
    quiet = system("s") | {"output_config": {"effort": "low"}}
    silent = system("t") | {"output_config": {}}
    turns = [user("a"), quiet, assistant("b"), user("c"), silent]
    assert translated(messages=turns, output_config={"effort": "high"}).chat.reasoning.effort == "low"
    assert (
        translated(messages=[user("a"), silent], output_config={"effort": "max"}).chat.reasoning.effort
        == "max"
    )


# --- structured output ---


def test_a_json_schema_is_the_response_format() -> None:
    output = translated(
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}}
    ).chat.response_format
    assert output is not None
    assert bytes(output.schema) == b'{"type":"object","properties":{"q":{"type":"string"}}}'


def test_a_broken_format_is_refused_by_path() -> None:
    config = {"format": {"type": "json_schema", "schema": []}}
    assert refusal(output_config=config).startswith("output_config.format.schema: Input should be an object")


def test_an_engine_without_structured_output_is_named() -> None:
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    words = refusal({"capabilities": able_but(structured_output=False)}, output_config=config)
    assert words.startswith("output_config.format: the engine of the model 'served'")


def test_a_format_holds_for_the_whole_request() -> None:
    turn = user("a") | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    assert refusal(messages=[turn]).startswith("messages.0.output_config.format: ")


# --- refused and without effect ---


def test_a_part_of_a_thread_is_refused_with_the_code_on_which_the_sdks_go_on() -> None:
    with pytest.raises(ThreadUnsupportedError) as refused:
        translated(thread={"type": "continue", "previous_message_id": "msg_1"})
    assert refused.value.error_code == "thread_unsupported_request"
    assert refused.value.details == {"unsupported": ["thread"]}
    assert translated(thread={"type": "create"}) == translated()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"compaction": {"type": "summarize"}}, "compaction: "),
        ({"mcp_servers": [{"type": "url", "name": "x", "url": "https://example.org"}]}, "mcp_servers: "),
        ({"container": {"skills": [{"type": "custom", "skill_id": "x"}]}}, "container.skills: "),
    ],
)
def test_what_nothing_here_can_honour_is_refused(fields: dict[str, Any], path: str) -> None:
    assert refusal(**fields).startswith(path)


NO_EFFECT: dict[str, Any] = {
    "cache_control": {"type": "ephemeral"},
    "speed": "fast",
    "mcp_servers": [],
    "container": {"id": "c", "skills": []},
    "service_tier": "auto",
    "inference_geo": "eu",
    "diagnostics": {"previous_message_id": None},
    "fallbacks": "default",
    "fallback_credit_token": "t",
    "billing_policy": {"type": "billing_policy", "bill_to": "x"},
    "safeguards": {"a": 1},
    "tags": ["a"],
    "metadata": {"user_id": "u"},
    "session_id": 7,
    "betas": ["x"],
    "anything_unknown": {"a": 1},
}


@pytest.mark.parametrize("name", NO_EFFECT)
def test_accepted_parameters_do_not_reach_the_engine(name: str) -> None:
    assert translated(**{name: NO_EFFECT[name]}) == translated()


def test_context_edits_of_an_unknown_type_are_noted() -> None:
    edits = [{"type": "clear_all_20270101"}, {"type": "compact_20260112"}, {"type": "clear_all_20270101"}]
    assert translated(context_management={"edits": edits}).notes == (
        "context edits of an unknown type, which have no effect: 2",
    )
    assert translated(context_management={"edits": edits[1:2]}) == translated(context_management={})


def test_the_translation_is_pure() -> None:
    turns = [user("a"), assistant("b"), user("c")]
    assert translated(messages=turns) == translated(messages=turns)


def test_nothing_was_dropped_from_a_plain_request() -> None:
    translation = translated()
    assert (translation.dropped_thinking, translation.notes) == (0, ())
    assert result()["type"] == "tool_result"


# --- what the newer version of the API has no more ---

NEWER = {"api_version": "2026-10-21", "strict": True}


@pytest.mark.parametrize(("field", "value"), [("temperature", 1.0), ("top_p", 0.5), ("top_k", 0)])
def test_sampling_is_refused_by_the_newer_version_in_strict_mode_only(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        translated(NEWER, **{field: value})
    assert refused.value.message == f"{field}: Extra inputs are not permitted"
    for changes in ({"api_version": "2026-10-21"}, {"strict": True}, NEWER | {"api_version": "2023-06-01"}):
        assert translated(changes, **{field: value}).chat.messages


def test_without_sampling_the_newer_version_is_content() -> None:
    assert translated(NEWER).chat.temperature is None


@pytest.mark.parametrize("field", [{"clear_at": "never"}, {"output_config": {"effort": "low"}}])
def test_what_belongs_to_a_system_turn_stands_in_no_other_in_strict_mode(field: dict[str, Any]) -> None:
    turns = [system("s") | field, user("a"), assistant("b") | field, user("c")]
    with pytest.raises(InvalidRequestError, match=r"^messages\.2\.\w+: only permitted on system messages$"):
        translated({"strict": True}, messages=turns)
    with pytest.raises(InvalidRequestError, match=r"^messages\.2\."):
        counted({"strict": True}, messages=turns)
    assert translated({"strict": True}, messages=[turns[0], user("a")]).chat.messages
    assert translated(messages=turns).chat.messages


def test_no_output_config_is_an_empty_one() -> None:
    assert translated(output_config=None).chat == translated().chat == translated(output_config={}).chat
    turn = system("s") | {"output_config": None}
    assert translated(messages=[user("a"), turn]).chat == translated(messages=[user("a"), system("s")]).chat


def test_an_effort_of_a_user_turn_is_none() -> None:
    turn = user("a") | {"output_config": {"effort": "low"}}
    assert translated(messages=[turn], output_config={"effort": "max"}).chat.reasoning.effort == "max"
