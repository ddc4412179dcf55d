"""An engine's answers as they came, read leniently: a doctor must survive what it finds."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.errors import error_in_body, error_of_reply, words_of
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    InvalidRequestError,
    NotSupportedError,
    RequestTooLargeError,
)

_WORDS = 90
# Errors that say "not this", where others say "not now".
_REFUSALS = (EngineConfigurationError, InvalidRequestError, NotSupportedError, RequestTooLargeError)
# What a request with something unknown in it is answered with; 401 and 403 speak of the key.
_REFUSING_STATUSES = frozenset([400, 404, 405, 413, 415, 422, 501])


def mapping(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def string(value: object) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def decoded(data: bytes) -> dict[str, Any]:
    """A JSON object's members; none where it is no JSON object."""
    try:
        return mapping(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def short(text: str, most: int = _WORDS) -> str:
    """A text in one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


class Called(msgspec.Struct, frozen=True):
    """A tool call: its name and the text of its arguments."""

    name: str
    arguments: str

    @property
    def values(self) -> dict[str, Any] | None:
        """The arguments, None where they are no JSON object."""
        try:
            value = msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: the HTTP status, the body's bytes, its members, and for a stream what it was made of."""

    status: int
    body: bytes
    value: dict[str, Any]
    chunks: tuple[dict[str, Any], ...] = ()
    content_type: str = ""
    has_done: bool = False

    @property
    def error(self) -> DragomanError | None:
        """What the engine refused or failed with, by our own reading of it; None for an answer."""
        if self.status != 200:
            return error_of_reply(self.status, self.body)
        return None if self.choice else error_in_body(self.body)

    @property
    def refuses(self) -> bool:
        """Whether the engine said that it does not take such a request, which is not the same as failing."""
        error = self.error
        if isinstance(error, EngineConfigurationError):
            return self.status not in {401, 403}
        return self.status in _REFUSING_STATUSES or isinstance(error, _REFUSALS)

    @property
    def words(self) -> str:
        """The status and the engine's own words, for a row."""
        said = words_of(self.body)
        return f"status {self.status}: {short(said)}" if said else f"status {self.status}"

    @property
    def choice(self) -> dict[str, Any]:
        """The first choice."""
        choices = sequence(self.value.get("choices"))
        return mapping(choices[0]) if choices else {}

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message."""
        return mapping(self.choice.get("message"))

    @property
    def text(self) -> str:
        """The answer's text."""
        return string(self.message.get("content"))

    @property
    def reasoning(self) -> str:
        """The thinking that came in a member of its own."""
        return string(self.message.get("reasoning")) or string(self.message.get("reasoning_content"))

    @property
    def reasoning_member(self) -> str:
        """The name of that member."""
        return "reasoning" if string(self.message.get("reasoning")) else "reasoning_content"

    @property
    def finish(self) -> str:
        """Why the answer ended."""
        return string(self.choice.get("finish_reason"))

    @property
    def calls(self) -> list[Called]:
        """The tool calls."""
        functions = [
            mapping(mapping(call).get("function")) for call in sequence(self.message.get("tool_calls"))
        ]
        return [Called(string(call.get("name")), _arguments(call.get("arguments"))) for call in functions]

    @property
    def usage(self) -> dict[str, Any]:
        """The token counts."""
        return mapping(self.value.get("usage"))

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt as billed."""
        count = self.usage.get("prompt_tokens")
        return count if isinstance(count, int) and count > 0 else None


def _arguments(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode() if value else ""
