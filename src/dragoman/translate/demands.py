"""What a request demands of its answer, read from its format, its strict tools and its tool_choice."""

from __future__ import annotations

from dragoman.errors import InvalidRequestError
from dragoman.translate.conformity import Expected, validator_of
from dragoman.translate.tool_choice import Choice
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.openai import ChatRequest

PREFILLED_FORMAT = (
    "output_config.format: an assistant turn cannot be continued in a given form; end the messages with a "
    "user turn"
)


def strict_places(request: CountTokensRequest) -> dict[str, str]:
    """Where the schemas of strict tools stand in the request, by the tools' names."""
    return {
        tool.name: f"tools.{number}.input_schema"
        for number, tool in enumerate(request.tools or ())
        if tool.strict and tool.name is not None
    }


def expected_of(chat: ChatRequest, choice: Choice) -> Expected | None:
    """What the answer must hold, None where nothing is demanded.

    Raises `InvalidRequestError` for a schema that is none, by its path.
    """
    output = chat.response_format
    if output is not None and chat.continue_final:
        raise InvalidRequestError(PREFILLED_FORMAT)
    mode = choice.mode.mode if choice.mode is not None else "auto"
    only = choice.mode.name if choice.mode is not None else None
    must_call = mode in {"required", "function"}
    if output is None and not chat.schema_places and not must_call:
        return None
    schemas = {tool.function.name: tool.function.parameters for tool in (*chat.tools, *chat.hidden_tools)}
    return Expected(
        text=None if output is None else validator_of(bytes(output.schema), output.path),
        inputs={name: validator_of(bytes(schemas[name]), at) for name, at in chat.schema_places.items()},
        call=must_call,
        only=only,
        single=only is not None and choice.parallel is False,
    )
