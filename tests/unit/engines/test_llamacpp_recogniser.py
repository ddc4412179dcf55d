"""What is recognised as a call that a model writes as text, and what is shown of everything else."""

from __future__ import annotations

import pytest

from dragoman.engines.llamacpp.calls import CallReader
from dragoman.engines.llamacpp.recogniser import CallRecogniser, Verdict
from dragoman.models.catalogue import CatalogueModel, catalogue

TOOLS = {"read_file", "run"}


def fed(*pieces: str) -> tuple[list[str], CallRecogniser]:
    """What is shown of each piece, and the recogniser after them."""
    recogniser = CallRecogniser(TOOLS, fences=("```json", "```", "<tools>"), marks=("<tool_call>",))
    return [recogniser.feed(piece) for piece in pieces], recogniser


def splits(text: str) -> list[list[str]]:
    """The text whole, in two at every place, and letter by letter."""
    return [[text], *([text[:at], text[at:]] for at in range(1, len(text))), list(text)]


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ('{"name": "read_file"', "read_file"),
        ('\n {\n "name" :\n "run"', "run"),
        ('```json\n{"name": "run"', "run"),
        ('```\n{"name":"run"', "run"),
        ('<tool_call>\n{"name": "run"', "run"),
        # a name that no tool has
        ('{"name": "open", "arguments"', None),
        ('<tool_call>{"name": "open"}', None),
        ("<tool_call>run", None),
        # a comma, a parenthesis or a second brace before it
        ('{{"name": "run", "arguments": {"a": 1}}}', "run"),
        ('{{"name": "open", "arguments"', None),
        ('<tools>\n{"name": "run", "arguments": {"a": 1}}\n</tools>', "run"),
        ('({"name": "run", "arguments": {"a": 1}})', "run"),
        (', {"name": "run", "arguments": {"a": 1}}', "run"),
        (',\n({{"name": "run"', "run"),
        ('```json\n({"name": "run"', "run"),
        ('<tool_call>\n{{"name": "run"', "run"),
    ],
)
def test_a_call(text: str, tool: str | None) -> None:
    for parts in splits(text):
        shown, recogniser = fed(*parts)
        assert not any(shown)
        assert (recogniser.verdict, recogniser.tool) == (Verdict.CALL, tool)
        assert recogniser.feed(" and more") == ""


@pytest.mark.parametrize(
    "text",
    [
        "Hello.",
        " Hello.",
        '{"name": "Ann", "age": 3}',
        '{"size": 3}',
        "{name: run}",
        '```json\n{"size": 3}\n```',
        '```python\nprint("{")\n```',
        "<tool_calls>",
        "`run`",
        '{"name": "' + "a" * 200,
        '{"name": 5}',
        '{{"name": "Ann"}}',
        '{{{"name": "run"',
        '{ {"name": "run"',
        "{{name}} and {{ age }}",
        "<tools>\n</tools>",
        "<tools> are listed",
        '<tools>\n{"type": "function"}',
        '(see {"name": "run"',
        '({"name": "Ann", "age": 3})',
        '(({"name": "run"',
        ',,{"name": "run"',
        '(, {"name": "run"',
        ", and so on",
    ],
)
def test_no_call(text: str) -> None:
    for parts in splits(text):
        shown, recogniser = fed(*parts)
        assert "".join(shown) == text
        assert (recogniser.verdict, recogniser.tool) == (Verdict.TEXT, None)


def test_only_what_may_be_a_call_is_held_back() -> None:
    assert fed("Hel", "lo")[0] == ["Hel", "lo"]
    assert fed("```", "py", "\nx")[0] == ["", "```py", "\nx"]
    assert fed("{", '"name"', ': "Ann"', ', "age"')[0] == ["", "", "", '{"name": "Ann", "age"']


@pytest.mark.parametrize(
    "model", [model for model in catalogue() if model.aids], ids=lambda model: model.name
)
@pytest.mark.parametrize(
    "before", ["", "{", "(", ", ", "<tools>\n", "```json\n", "Let me see.\n<tool_call>\n"]
)
def test_the_models_of_the_catalogue_may_begin_a_call_in_all_these_ways(
    model: CatalogueModel, before: str
) -> None:
    assert model.aids is not None
    recogniser = CallRecogniser(TOOLS, model.aids.fences, model.aids.marks)
    recogniser.feed(before + '{"name": "run", "arguments": {}}')
    assert (recogniser.verdict, recogniser.tool) == (Verdict.CALL, "run")


@pytest.mark.parametrize(
    "text", ["<tools", "<tools>\n", '<tools>{"name": "ru', "(", " , ", ',({{"name"', "{{"]
)
def test_what_ended_before_it_could_be_a_call_is_kept(text: str) -> None:
    for parts in splits(text):
        shown, recogniser = fed(*parts)
        assert not any(shown)
        assert (recogniser.verdict, recogniser.flush()) == (Verdict.OPEN, text)


def test_a_mark_begins_a_call_wherever_it_stands() -> None:
    shown, recogniser = fed("Let me ", "see.\n<too", "l_call>", '\n{"name": "run"', "...")
    assert shown == ["Let me ", "see.\n", "", "", ""]
    assert (recogniser.verdict, recogniser.tool) == (Verdict.CALL, "run")
    shown, recogniser = fed('So <tool_call>{"name": "open"}')
    assert (shown, recogniser.verdict, recogniser.tool) == (["So "], Verdict.CALL, None)


def test_what_only_looks_like_a_mark_is_shown_when_that_is_known() -> None:
    shown, recogniser = fed("a < b", " <", "tool", "s>", " <to")
    assert shown == ["a < b", " ", "", "<tools>", " "]
    assert recogniser.flush() == "<to"
    shown, recogniser = fed("So <tool_call>", '{"na')
    assert (shown, recogniser.flush()) == (["So ", ""], '<tool_call>{"na')


def test_what_is_held_at_the_end_is_text() -> None:
    shown, recogniser = fed("```json\n", '{"na')
    assert shown == ["", ""]
    assert recogniser.verdict is Verdict.OPEN
    assert recogniser.flush() == '```json\n{"na'
    assert recogniser.flush() == ""


def test_without_fences_only_the_bare_object_is_a_call() -> None:
    recogniser = CallRecogniser(TOOLS)
    assert recogniser.feed("<tool_call>") == "<tool_call>"
    other = CallRecogniser(TOOLS)
    assert other.feed('{"name": "run"') == ""
    assert other.tool == "run"


def read(*pieces: str) -> tuple[list[tuple[str | None, str | None]], CallReader]:
    """Name and arguments of each delta, and the reader after them."""
    reader = CallReader()
    found = [delta.function for piece in pieces for delta in reader.feed(piece)]
    return [(one.name, one.arguments) for one in found if one is not None], reader


def test_arguments_come_piece_by_piece() -> None:
    deltas, reader = read('{"name"', ': "run", "argu', 'ments": {"a"', ": [1", "]", "}}", "\n")
    assert deltas == [("run", ""), (None, '{"a"'), (None, ": [1"), (None, "]"), (None, "}")]
    assert reader.complete


def test_brackets_and_escapes_inside_strings_end_nothing() -> None:
    inner = r'{"a": "}\"]\\", "b": "\\\""}'
    for pieces in ([inner + "}"], list(inner + "}")):
        deltas, reader = read('{"name": "run", "arguments": ', *pieces)
        assert "".join(arguments or "" for _, arguments in deltas) == inner
        assert reader.complete


def test_a_call_that_was_cut() -> None:
    assert read('{"name": "run", "argum')[0] == []
    assert read('{"name": "run", "arguments": ')[0] == []
    deltas, reader = read('{"name": "run", "arguments": {"a": "x')
    assert deltas == [("run", ""), (None, '{"a": "x')]
    assert (reader.begun, reader.complete) == (True, False)
