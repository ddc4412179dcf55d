"""Raw model output to deltas: every format, whole, cut anywhere, broken."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.translate.parsers import FORMATS
from tests.support.raw_output import ONE_CALL, THOUGHTS, Parts, deltas_of, folded, parsed

EACH = pytest.mark.parametrize("raw_format", sorted(FORMATS))


def thinking_of(raw_format: str) -> tuple[str, str]:
    return THOUGHTS.get(raw_format, ("<think>", "</think>"))


def test_every_format_is_tried() -> None:
    assert ONE_CALL.keys() == FORMATS


@EACH
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_call_is_one(raw_format: str, size: int) -> None:
    thinking, text, calls = parsed(raw_format, ONE_CALL[raw_format], size)
    assert (thinking, (text or "").strip()) == (None, "")
    ((name, arguments),) = calls
    assert name == "find"
    assert msgspec.json.decode(arguments or "") == {"query": "a } b", "n": 3}


@EACH
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_thinking_text_and_a_call_come_in_order(raw_format: str, size: int) -> None:
    opener, closer = thinking_of(raw_format)
    spoken = "" if raw_format == "llama3" else "Let me see."
    if raw_format == "gpt_oss":
        spoken = "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant"
    raw = f"{opener}Hm < m.{closer}{spoken}{ONE_CALL[raw_format]}"
    if raw_format == "llama3":
        raw = f"{opener}Hm < m.{closer}Let me see.<|python_tag|>{ONE_CALL[raw_format]}"
    thinking, text, calls = parsed(raw_format, raw, size)
    assert (thinking, (text or "").strip()) == ("Hm < m.", "Let me see.")
    assert [name for name, _ in calls] == ["find"]


@EACH
def test_several_calls_keep_their_order(raw_format: str) -> None:
    one = ONE_CALL[raw_format]
    if raw_format == "mistral_list":
        one = one.removesuffix("]")
    joint = {"mistral_list": ", ", "llama3": "; ", "gpt_oss": "<|start|>assistant"}.get(raw_format, "")
    raw = joint.join([one, one.removeprefix("[TOOL_CALLS][") if raw_format == "mistral_list" else one])
    _, text, calls = parsed(raw_format, raw, 5)
    assert (text or "").strip() == ""
    assert [name for name, _ in calls] == ["find", "find"]
    assert [msgspec.json.decode(arguments or "")["n"] for _, arguments in calls] == [3, 3]


@EACH
def test_text_is_text(raw_format: str) -> None:
    plain = "No < markers > here, but {braces}, [lists] and <tags>.\n\n<think>late</think>"
    assert parsed(raw_format, plain, 3) == Parts(None, plain, [])
    assert parsed(raw_format, "", 3) == Parts(None, None, [])


@EACH
def test_an_answer_that_begins_inside_of_thinking(raw_format: str) -> None:
    closer = {"gpt_oss": "<|end|><|start|>assistant<|channel|>final<|message|>"}.get(
        raw_format, thinking_of(raw_format)[1]
    )
    assert parsed(raw_format, f"Hm.{closer}So.", 2, in_thinking=True) == Parts("Hm.", "So.", [])
    assert parsed(raw_format, "Hm.", 2, in_thinking=True) == Parts("Hm.", None, [])


@EACH
@pytest.mark.parametrize("size", [1, 4, 10_000])
def test_a_call_that_is_cut_stays_cut(raw_format: str, size: int) -> None:
    """Wherever it is cut: what came of its arguments, or of its marker, is there; nothing is made up."""
    raw = ONE_CALL[raw_format]
    whole = parsed(raw_format, raw).calls[0][1] or ""
    cut = {end: parsed(raw_format, raw[:end], size) for end in range(1, len(raw))}
    begun = [end for end, parts in cut.items() if parts.calls]
    assert begun == list(range(begun[0], len(raw))), "once it is a call, it is one"
    assert {parts.thinking for parts in cut.values()} == {None}
    assert {cut[end].calls[0][0] for end in begun} == {"find"}
    assert [end for end in begun if not whole.startswith((cut[end].calls[0][1] or "").rstrip(": "))] == []
    # Harmony's headers are no text
    texts = {"" if raw_format == "gpt_oss" else raw[:end] for end in cut.keys() - begun}
    assert {cut[end].text or "" for end in cut.keys() - begun} == texts


@EACH
@given(data=st.data())
def test_however_it_is_cut_it_says_the_same(raw_format: str, data: st.DataObject) -> None:
    """Any mixture of the format's own pieces and other text, legal or not."""
    opener, closer = thinking_of(raw_format)
    one = ONE_CALL[raw_format]
    at = data.draw(st.integers(0, len(one)))
    pieces = st.sampled_from(
        [opener, closer, one, one[:at], one[at:], "text", " ", "\n", "<", "{", "}", "[", ">"]
    )
    raw = "".join(data.draw(st.lists(pieces, max_size=7)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=9)))
    cut = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    in_thinking = data.draw(st.booleans())
    whole = folded(deltas_of(raw_format, [raw], in_thinking=in_thinking))
    assert folded(deltas_of(raw_format, cut, in_thinking=in_thinking)) == whole
