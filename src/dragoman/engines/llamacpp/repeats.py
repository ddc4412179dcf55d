"""A call that only repeats the one whose result has just come: small models do so for ever."""

from __future__ import annotations

import msgspec

from dragoman.wire.openai import ChatRequest, FunctionCall, ToolCallDelta


def answered_calls(chat: ChatRequest) -> list[FunctionCall]:
    """The calls of the last assistant's turn, if a result stands behind it; none where it was not answered.

    Text or a system turn may stand behind the result too: agents send their reminders there.
    """
    has_result = False
    for message in reversed(chat.messages):
        if message.role == "assistant":
            return [call.function for call in message.tool_calls or ()] if has_result else []
        has_result = has_result or message.role == "tool"
    return []


class RepeatGuard:
    """Holds a call back as long as it may still repeat one of `earlier`; `is_repeat` when it did.

    White space and a client's own spelling of the same value make no difference to what is a repeat.
    """

    def __init__(self, earlier: list[FunctionCall]) -> None:
        self._earlier = earlier
        self._held: list[ToolCallDelta] = []
        self._name = ""
        self._text = ""
        self.is_repeat = False

    def feed(self, deltas: list[ToolCallDelta], *, complete: bool) -> list[ToolCallDelta]:
        """What may be shown of a call's pieces; `complete` with the last of them."""
        if not self._earlier:
            return deltas
        self._held += deltas
        for delta in deltas:
            assert delta.function is not None
            self._name = self._name or delta.function.name or ""
            self._text += delta.function.arguments or ""
        self._earlier = [one for one in self._earlier if one.name == self._name and self._may_be(one)]
        if not self._earlier:
            return self.flush()
        self.is_repeat = complete and any(_same(one.arguments, self._text) for one in self._earlier)
        return self.flush() if complete and not self.is_repeat else []

    def flush(self) -> list[ToolCallDelta]:
        """What was held back."""
        held, self._held = self._held, []
        return held

    def _may_be(self, one: FunctionCall) -> bool:
        return _without_space(one.arguments).startswith(_without_space(self._text))


def _without_space(text: str) -> str:
    return "".join(text.split())


def _same(one: str, other: str) -> bool:
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.DecodeError:
        return False
