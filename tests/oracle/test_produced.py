"""What each engine's answer becomes, played: every cell is filled or has its reason."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dragoman import errors
from dragoman.errors import DragomanError
from tests.oracle import answers, matrix
from tests.oracle.page import produced
from tests.oracle.produced import both, found
from tests.oracle.wires import FILTERED, scenes

GOLDEN = Path(__file__).parent.parent / "golden"
PARTS = [(kind, part) for kind, parts in answers.KINDS.items() for part in parts]
OF_ENGINES = [f"{kind}:{part.name}" for kind, part in PARTS if part.here.startswith("translated")]
MADE_HERE = [f"{kind}:{part.name}" for kind, part in PARTS if part.here == "made here"]
NEVER = [f"{kind}:{part.name}" for kind, part in PARTS if part.here == "never"]


def test_every_empty_cell_has_a_reason_and_every_reason_an_empty_cell() -> None:
    empty = {
        (thing, engine)
        for thing in OF_ENGINES
        for engine in matrix.ENGINES
        if not found(engine).sources.get(thing)
    }
    assert empty == set(answers.ABSENT)
    assert [place for place, reason in answers.ABSENT.items() if not reason] == []


@pytest.mark.parametrize("engine", matrix.ENGINES)
def test_no_cell_is_blank(engine: str) -> None:
    cells = {f"{kind}:{part.name}": produced(kind, part, engine) for kind, part in PARTS}
    assert [thing for thing, cell in cells.items() if not cell] == []
    assert (
        cells["stop_reason:stop_sequence"] == cells["message:stop_sequence"]
        or "`" in cells["message:content"]
    )


@pytest.mark.parametrize("thing", OF_ENGINES)
def test_what_engines_give_some_engine_gives(thing: str) -> None:
    assert any(found(engine).sources.get(thing) for engine in matrix.ENGINES)


@pytest.mark.parametrize("engine", matrix.ENGINES)
def test_nothing_comes_out_that_has_no_row(engine: str) -> None:
    named = {f"{kind}:{part.name}" for kind, part in PARTS}
    assert found(engine).sources.keys() - named == set()
    assert found(engine).sources.keys() & set(NEVER) == set()


@pytest.mark.parametrize("engine", matrix.ENGINES)
def test_what_is_made_here_comes_out_in_front_of_every_engine(engine: str) -> None:
    played = {thing for thing in MADE_HERE if not thing.startswith(("message:", "usage:", "error:"))}
    assert played <= found(engine).sources.keys()


def test_the_errors_of_the_table_are_those_of_the_tree() -> None:
    raised = {f"error:{kind.type}" for kind in kinds_of(DragomanError)}
    of_ours = {f"error:{part.name}" for part in answers.ERRORS if "made here" in part.here}
    assert of_ours == raised


def kinds_of(kind: type[DragomanError]) -> set[type[DragomanError]]:
    """A class of errors and those below it, as the module of errors has them."""
    below = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    return {kind}.union(*map(kinds_of, below))


@pytest.mark.parametrize("kind", ["message", "usage"])
def test_fields_that_are_made_here_stand_in_golden_messages_and_others_never(kind: str) -> None:
    golden = [msgspec.json.decode(data) for data in bodies()]
    values = golden if kind == "message" else [message["usage"] for message in golden]
    filled = {f"{kind}:{name}" for value in values for name, said in value.items() if said is not None}
    assert {thing for thing in MADE_HERE if thing.startswith(f"{kind}:")} <= filled
    assert filled & set(NEVER) == set()


def bodies() -> list[bytes]:
    """The golden messages; a file that holds the words of an error is none."""
    found = [path.read_bytes() for path in sorted(GOLDEN.glob("*/*.message"))]
    return [data for data in found if data.startswith(b"{")]


def test_a_row_says_never_in_its_words_too() -> None:
    words = [part.name for _, part in PARTS if part.what.startswith(("never sent", "always null"))]
    assert words == [part.name for _, part in PARTS if part.here == "never"]


# --- the playing itself ---


@pytest.mark.parametrize("name", ["text", "thinking", "call", "cut", "full", "stopped"])
@pytest.mark.parametrize("engine", matrix.ENGINES)
def test_a_whole_answer_says_what_its_stream_says(engine: str, name: str) -> None:
    streamed, whole = both(engine, name)
    assert streamed == whole


def test_only_an_engine_with_a_filter_refuses() -> None:
    assert {engine for engine in matrix.ENGINES if "filtered" in scenes(engine)} == set(FILTERED)


@pytest.mark.parametrize(
    ("engine", "thing", "sources"),
    [
        ("vllm", "block:thinking", ["reasoning"]),
        ("sglang", "block:thinking", ["reasoning_content"]),
        ("llamacpp", "message:stop_sequence", ["__verbose"]),
        ("sglang", "message:stop_sequence", ["matched_stop"]),
        ("generic", "usage:output_tokens_details", ["completion_tokens_details"]),
        ("llamacpp", "block:text", ["content"]),
        ("llamacpp", "event:message_start", []),
    ],
)
def test_a_thing_comes_from_its_members(engine: str, thing: str, sources: list[str]) -> None:
    assert found(engine).sources[thing] == sources
