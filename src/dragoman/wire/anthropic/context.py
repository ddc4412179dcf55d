"""What a request says of its own context: edits of the history, and the thread that it belongs to."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]


class InputTokens(msgspec.Struct, tag_field="type", tag="input_tokens", gc=False):
    """A number of tokens of the prompt."""

    value: Count


class ToolUses(msgspec.Struct, tag_field="type", tag="tool_uses", gc=False):
    """A number of calls."""

    value: Count


class ThinkingTurns(msgspec.Struct, tag_field="type", tag="thinking_turns", gc=False):
    """A number of turns that hold thinking."""

    value: Positive


class AllThinkingTurns(msgspec.Struct, tag_field="type", tag="all", gc=False):
    """Every turn that holds thinking."""


class ClearToolUses(msgspec.Struct, tag_field="type", tag="clear_tool_uses_20250919", kw_only=True):
    """Clears the results of old calls: all but the newest `keep`, once the conversation passes `trigger`."""

    trigger: InputTokens | ToolUses | None = None
    keep: ToolUses | None = None
    clear_at_least: InputTokens | None = None
    clear_tool_inputs: bool | list[str] | None = None
    exclude_tools: list[str] | None = None


class ClearThinking(msgspec.Struct, tag_field="type", tag="clear_thinking_20251015", kw_only=True):
    """Clears the thinking of old turns: of all but the newest `keep` that hold any."""

    keep: ThinkingTurns | AllThinkingTurns | Literal["all"] | None = None


class Compact(msgspec.Struct, tag_field="type", tag="compact_20260112", kw_only=True):
    """Would summarise a long conversation; accepted, and never triggered."""

    trigger: InputTokens | None = None
    instructions: str | None = None
    pause_after_compaction: bool | None = None


class UnknownEdit(msgspec.Struct, tag_field="type", tag="unknown", kw_only=True):
    """Stands for an edit of a type that is not known here; it has no effect."""

    name: str = ""


Edit = ClearToolUses | ClearThinking | Compact | UnknownEdit

EDIT_TYPES = frozenset({"clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112"})


class ContextManagement(msgspec.Struct, kw_only=True):
    """The edits that the history goes through before the model reads it, in their order."""

    edits: list[Edit] | None = None


class ThreadCreate(msgspec.Struct, tag_field="type", tag="create"):
    """Asks to keep the conversation under the answer's id."""


class ThreadContinue(msgspec.Struct, tag_field="type", tag="continue"):
    """Goes on from the answer with this id: the request holds what came after it."""

    previous_message_id: str


Thread = ThreadCreate | ThreadContinue
