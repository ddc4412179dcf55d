"""What is seen of an answer, on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dragoman.cli.chat.answer import BlockEnd, Call, CallBegun, Shown, Thought, Words
from dragoman.cli.chat.flow import MarkdownFlow, ThoughtFlow
from dragoman.cli.chat.screen import PlainScreen, TerminalScreen

LONG_CALL = Call("1", "write", '{"path": "a.txt", "text": "' + "x" * 60 + '"}')


def text_of(flow: MarkdownFlow | ThoughtFlow, part: object) -> str | None:
    """A part of a flow as it is shown, without the spaces at line ends; None for none."""
    if part is None:
        return None
    out = io.StringIO()
    Console(file=out, width=40).print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")


def grown(flow: MarkdownFlow | ThoughtFlow, *pieces: str) -> list[str]:
    """What is printed for good, piece by piece, and the rest."""
    found = []
    for piece in pieces:
        flow.add(piece)
        found.append(text_of(flow, flow.finished()))
    found.append(text_of(flow, flow.rest()))
    return [part for part in found if part is not None]


def letters(text: str) -> list[str]:
    """The text in pieces of one letter."""
    return list(text)


def test_a_block_is_finished_when_the_next_one_has_begun() -> None:
    flow = MarkdownFlow()
    assert grown(flow, "One **bo", "ld**.\n", "\nTw", "o.\n\n", "# Three\n", "four\n") == [
        "One bold.",
        "Two.",
        text_of(flow, grown_heading()),
        "four",
    ]


def grown_heading() -> object:
    """The heading as a flow would show it."""
    flow = MarkdownFlow()
    flow.add("# Three")
    return flow.rest()


def test_lists_and_code_stay_whole_until_they_end() -> None:
    code = "```python\nx = 1\n\ny = 2\n```\n"
    parts = grown(MarkdownFlow(), *letters(f"1. one\n\n2. two\n   - in\n\n3. three\n\n{code}\nEnd.\n"))
    assert [part.split()[0] for part in parts] == ["1", "x", "End."]
    assert "three" in parts[0]
    assert "y = 2" in parts[1]


def test_nothing_is_lost_or_shown_twice_whatever_the_pieces() -> None:
    words = " ".join(f"word{n}" + ("\n\n" if n % 7 == 0 else "") for n in range(60))
    for size in (1, 3, 50, 1000):
        pieces = [words[at : at + size] for at in range(0, len(words), size)]
        assert " ".join(grown(MarkdownFlow(), *pieces)).split() == words.split()
        assert " ".join(grown(ThoughtFlow(), *pieces)).split() == words.split()


def test_of_long_code_only_the_end_is_drawn_again() -> None:
    flow = MarkdownFlow()
    flow.add("```\n" + "".join(f"line{n}\n" for n in range(500)))
    drawn = str(text_of(flow, flow.growing(10)))
    assert "line499" in drawn
    assert "line100" not in drawn


def test_empty_lines_of_thinking_are_nothing() -> None:
    assert grown(ThoughtFlow(), "\n\n", "\n") == []


def terminal(*pieces: Shown, colours: bool = False) -> str:
    """What a terminal was sent."""
    out = io.StringIO()
    console = Console(file=out, width=60, height=10, force_terminal=colours, highlight=False)
    screen = TerminalScreen(console)
    with screen.answering():
        for piece in pieces:
            screen.show(piece)
            screen.tick()
    return out.getvalue()


def test_an_answer_on_a_terminal() -> None:
    said = terminal(
        Thought("A greeting."),
        BlockEnd("thinking"),
        Words("Hello **there**."),
        BlockEnd("text"),
        CallBegun("look"),
        Call("1", "look", '{"a":1}'),
        CallBegun("write"),
        LONG_CALL,
        BlockEnd("hologram"),
        Call("1", "look", '{"a":'),
    )
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    assert lines[:5] == ["  A greeting.", "Hello there.", '→ look {"a": 1}', "→ write", "{"]
    assert lines[-2:] == ["[hologram]", '→ look {"a": (it was cut)']


def test_thinking_is_dim_and_words_are_not() -> None:
    said = terminal(Thought("Hm."), BlockEnd("thinking"), Words("Yes."), BlockEnd("text"), colours=True)
    assert "\x1b[2;3mHm." in said
    assert "\x1b[2;3mYes." not in said


def test_while_nothing_comes_a_clock_runs() -> None:
    said = terminal(CallBegun("look"), colours=True)
    assert "calling look, 0 s (Ctrl-C stops it)" in said


def test_a_block_taller_than_the_screen_is_drawn_to_its_end() -> None:
    said = terminal(Words("".join(f"- item{n}\n" for n in range(30))), BlockEnd("text"), colours=True)
    drawn, _, printed = said.rpartition("item29")
    assert "item0" in printed or "item0" in drawn
    assert said.count("item29") == 2


def test_outside_of_an_answer_a_tick_draws_nothing() -> None:
    out = io.StringIO()
    TerminalScreen(Console(file=out)).tick()
    assert out.getvalue() == ""


def test_a_model_cannot_move_the_cursor() -> None:
    evil = "\x1b[2Ja\x07b\x9b3mc\rd"
    for piece in (Words(evil), Thought(evil), Call("1", evil, "{}"), Call("1", "n", f'{{"{evil}')):
        assert "\x1b" not in terminal(piece)
        assert "\x07" not in terminal(piece)


# ---- pipes ------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def plain(out: io.StringIO, errors: io.StringIO | None = None) -> str:
    """A short answer in a pipe."""
    screen = PlainScreen(out, errors)
    with screen.answering():
        for piece in (
            Thought("Hm."),
            Words("One\x1b"),
            Words(" two"),
            Call("1", "look", '{"a":1}'),
            Words("x"),
        ):
            screen.show(piece)
            screen.tick()
    screen.note("not for pipes")
    screen.error("no \x1b answer")
    return out.getvalue()


def test_a_pipe_gets_the_words_as_they_are_and_calls_on_lines() -> None:
    errors = io.StringIO()
    assert plain(io.StringIO(), errors) == 'One\x1b two\nlook {"a":1}\nx\n'
    assert errors.getvalue() == "dragoman: no  answer\n"


def test_a_terminal_behind_a_plain_screen_is_safe_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(Terminal()).startswith("One two\n")
    assert capsys.readouterr().err == "dragoman: no  answer\n"
