"""Answers with the exact text that their translation gives.

An answer is `answers/NAME.jsonl`, the chunks of one read per line, and `NAME.edits.json` what was cleared
before, where something was; beside it stand the events, and the whole message or its error. `make golden`
writes the files anew: read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dragoman.engines.whole import fold
from dragoman.errors import DragomanError
from dragoman.translate.conformity import Expected, validator_of
from dragoman.translate.response import StreamOptions, to_message
from dragoman.translate.stream import MessageStream
from dragoman.wire.anthropic.response import AppliedEdits
from dragoman.wire.openai import ChatChunk

HERE = Path(__file__).parent
ANSWER_OPTIONS = StreamOptions(message_id="msg_golden", model="claude-sonnet-5", max_tokens=1024)
PERSON = b'{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}'
IN_FORM = Expected(text=validator_of(PERSON, "output_config.format.schema"))
STRICT = Expected(inputs={"Read": validator_of(PERSON, "tools.0.input_schema")})
FORCED = Expected(call=True, only="Read")
# What the request demanded, by the answer's name.
EXPECTED = {
    "fault_forced_tool_not_called": FORCED,
    "fault_no_call_where_one_must_be": Expected(call=True),
    "fault_strict_input_not_of_its_schema": STRICT,
    "fault_text_not_of_the_form": IN_FORM,
    "forced_tool_beside_another": FORCED,
    "forced_tool_cut_in_another": FORCED,
    "text_in_form": IN_FORM,
    "text_in_form_cut": IN_FORM,
}


def seal(text: str, visible: bool) -> str:
    """A signature that can be read: how much was signed, and whether it was seen."""
    return f"signed-{len(text)}-{'visible' if visible else 'omitted'}"


def reads_of(text: str) -> list[list[ChatChunk]]:
    """The chunks of each read."""
    return [msgspec.json.decode(line, type=list[ChatChunk]) for line in text.splitlines()]


def options_of(case: Path) -> StreamOptions:
    """The options of an answer."""
    options = msgspec.structs.replace(ANSWER_OPTIONS, expected=EXPECTED.get(case.stem))
    file = case.with_suffix(".edits.json")
    if not file.is_file():
        return options
    edits = msgspec.json.decode(file.read_bytes(), type=AppliedEdits)
    return msgspec.structs.replace(options, context_management=edits)


def streamed(reads: list[list[ChatChunk]], options: StreamOptions) -> str:
    """The events of an answer."""
    stream = MessageStream(options, seal)
    parts = [stream.start(7), *(stream.feed(read) for read in reads), stream.end()]
    return b"".join(parts).decode()


def whole(reads: list[list[ChatChunk]], options: StreamOptions) -> str:
    """The same answer as one message, or the words of its error."""
    try:
        message, _ = to_message(fold(chunk for read in reads for chunk in read), options, seal)
    except DragomanError as error:
        return f"{error.status} {error.type}: {error.message}\n"
    return msgspec.json.format(msgspec.json.encode(message), indent=2).decode() + "\n"


def compare(actual: str, file: Path, update: bool) -> None:
    """Hold a text against its golden file, or write that file."""
    if update:
        file.write_text(actual, encoding="utf-8")
    assert file.is_file(), f"{file.name} is missing: run `make golden`"
    assert actual == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", sorted((HERE / "answers").glob("*.jsonl")), ids=lambda path: path.stem)
def test_answer(case: Path, update_golden: bool) -> None:
    reads, options = reads_of(case.read_text(encoding="utf-8")), options_of(case)
    compare(streamed(reads, options), case.with_suffix(".sse"), update_golden)
    compare(whole(reads, options), case.with_suffix(".message"), update_golden)
