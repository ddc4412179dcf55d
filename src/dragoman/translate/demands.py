"""What a request demands of its answer, read from its format, its strict tools and its tool_choice."""

from __future__ import annotations

from collections.abc import Sequence

from dragoman.errors import InvalidRequestError
from dragoman.translate.conformity import Expected, validator_of
from dragoman.translate.tool_choice import Choice
from dragoman.translate.tool_set import StrictTool
from dragoman.wire.openai import ChatRequest

PREFILLED_FORMAT = (
    "output_config.format: an assistant turn cannot be continued in a given form; end the messages with a "
    "user turn"
)


def expected_of(chat: ChatRequest, choice: Choice, strict: Sequence[StrictTool]) -> Expected | None:
    """What the answer must hold, None where nothing is demanded.

    Raises `InvalidRequestError` for a schema that is none, by its path.
    """
    output = chat.response_format
    if output is not None and chat.continue_final:
        raise InvalidRequestError(PREFILLED_FORMAT)
    mode = choice.mode.mode if choice.mode is not None else "auto"
    only = choice.mode.name if choice.mode is not None else None
    must_call = mode in {"required", "function"}
    validators = [(tool, validator_of(bytes(tool.schema), tool.place)) for tool in strict]
    inputs = {tool.name: validator for tool, validator in validators if tool.holds}
    if output is None and not inputs and not must_call:
        return None
    return Expected(
        text=None if output is None else validator_of(bytes(output.schema), output.path),
        inputs=inputs,
        call=must_call,
        only=only,
        single=only is not None and choice.parallel is False,
    )
