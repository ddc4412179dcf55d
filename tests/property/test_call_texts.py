"""Calls that come as text: how the text is cut changes neither what is recognised nor what is read."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.engines.llamacpp.calls import CallReader
from dragoman.engines.llamacpp.recogniser import CallRecogniser, Verdict

TOOLS = ("read_file", "run")
FENCES = ("```json", "```", "<tools>")
MARKS = ("<tool_call>",)

# Pieces of calls, near misses and prose in any order.
WORDS = st.sampled_from(
    [
        *(" ", "\n", "{", "}", '"', ":", ",", "`", "<", "a", "\\", "```", "```json", "<tool_call>", "<tool"),
        *("(", "({", "{{", "<tools>", "</tools>", ")"),
        *('"name"', '"arguments"', "read_file", "run", "other", '{"name": "', '", "arguments": {', "Hello"),
    ]
)
TEXTS = st.lists(WORDS, max_size=12).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def pieces(text: str, cuts: list[int]) -> list[str]:
    """The text, cut at some places."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:end] for start, end in pairwise(places)]


def recognised(parts: list[str]) -> tuple[str, Verdict, str | None, str]:
    """What is shown of an answer, what it is, the tool, and what is held at its end."""
    recogniser = CallRecogniser(TOOLS, FENCES, MARKS)
    shown = "".join(map(recogniser.feed, parts))
    return shown, recogniser.verdict, recogniser.tool, recogniser.flush()


def read(parts: list[str]) -> tuple[str | None, str, bool]:
    """Name and arguments of a call that comes as text, and whether it is complete."""
    reader = CallReader()
    found = [delta.function for part in parts for delta in reader.feed(part) if delta.function]
    name = next((one.name for one in found if one.name is not None), None)
    return name, "".join(one.arguments or "" for one in found), reader.complete


@given(TEXTS, CUTS)
@example('```json\n{"name": "read_file", "arguments": {}}', [3])
@example('{"name": "other", "arguments": {}}', [1, 10])
@example('Hello <tool_call>{"name": "run"', [8, 20])
@example('{{"name": "run", "arguments": {}}}', [1])
@example('<tools>\n{"name": "run", "arguments": {}}\n</tools>', [3, 7])
@example(',\n({"name": "run", "arguments": {}})', [1, 3])
def test_any_split_is_recognised_alike(text: str, cuts: list[int]) -> None:
    # of a call, only what stood before it counts
    shown, verdict, tool, held = recognised([text])
    whole = (shown, verdict, tool) if verdict is Verdict.CALL else (shown + held, verdict, tool)
    for parts in (pieces(text, cuts), list(text)):
        again, found, name, rest = recognised(parts)
        assert whole == ((again if found is Verdict.CALL else again + rest), found, name)


@given(TEXTS, CUTS)
def test_nothing_of_an_answer_is_lost_before_a_call(text: str, cuts: list[int]) -> None:
    shown, verdict, _, held = recognised(pieces(text, cuts))
    assert text.startswith(shown)
    assert verdict is Verdict.CALL or shown + held == text


@given(st.text(alphabet=st.characters(exclude_characters='{(,`<" \n'), min_size=1), CUTS)
def test_words_are_shown_at_once(text: str, cuts: list[int]) -> None:
    recogniser = CallRecogniser(TOOLS, FENCES, MARKS)
    parts = pieces(text, cuts)
    visible = [part for part in parts if part.strip()]
    shown = [recogniser.feed(part) for part in parts]
    assert "".join(shown) == (text if visible else "")


@given(st.sampled_from(TOOLS), OBJECTS, CUTS, st.sampled_from(["", "\n", " "]))
def test_any_split_of_a_call_is_read_alike(
    name: str, arguments: dict[str, object], cuts: list[int], space: str
) -> None:
    inner = msgspec.json.encode(arguments).decode()
    text = f'{space}{{{space}"name"{space}:{space}"{name}",{space}"arguments":{space}{inner}{space}}}{space}'
    assert read([text]) == (name, inner, True)
    assert read(pieces(text, cuts)) == (name, inner, True)
    assert read(list(text)) == (name, inner, True)


@given(st.sampled_from(TOOLS), OBJECTS, st.integers(0, 400))
def test_a_cut_call_is_read_as_far_as_it_came(name: str, arguments: dict[str, object], end: int) -> None:
    inner = msgspec.json.encode(arguments).decode()
    text = f'{{"name": "{name}", "arguments": {inner}'
    found, said, complete = read(list(text[:end]))
    assert inner.startswith(said)
    assert complete == (end >= len(text))
    assert found in {None, name}
