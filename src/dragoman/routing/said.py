"""What an answer said so far, and the request that goes on from there. Pure."""

from __future__ import annotations

from array import array

import msgspec

from dragoman.engines.whole import fold
from dragoman.wire.openai import (
    ChatChunk,
    ChatDelta,
    ChatMessage,
    ChatRequest,
    ChatUsage,
    ChunkChoice,
    Reasoning,
    TextPart,
    ToolCallDelta,
)

ABORTED = "abort"
# Pieces of one kind that are kept apart.
_MOST_PIECES = 256


class Said:
    """What the chunks of an answer said, as far as it was handed out.

    prompt_ids, ids: token ids of the prompt and of the answer, where the engine tells them. usage: the
    newest. has_refusal: it holds one. is_finished: its finish reason came. It is kept small, as there is one
    for each answer that runs.
    """

    def __init__(self) -> None:
        self.prompt_ids: list[int] | None = None
        self.ids = array("I")
        self.usage: ChatUsage | None = None
        self.has_refusal = False
        self.is_finished = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCallDelta] = []

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The thinking so far."""
        return "".join(self._reasoning)

    @property
    def calls(self) -> list[ToolCallDelta]:
        """The calls so far, each in one piece."""
        return _together(self._calls)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said yet, so that another engine can begin anew."""
        return not (self._text or self._reasoning or self._calls or self.has_refusal)

    def take(self, batch: list[ChatChunk]) -> bool:
        """Notes what a batch says; whether it ends an answer that the engine gave up.

        The mark of that end is taken out: the answer goes on.
        """
        is_aborted = False
        for chunk in batch:
            if chunk.usage is not None:
                self.usage = chunk.usage
            if chunk.prompt_token_ids is not None:
                self.prompt_ids = chunk.prompt_token_ids
            for choice in chunk.choices:
                self._note(choice.delta)
                if choice.token_ids:
                    self.ids.extend(choice.token_ids)
                if choice.finish_reason == ABORTED:
                    choice.finish_reason = None
                    is_aborted = True
                elif choice.finish_reason:
                    self.is_finished = True
        return is_aborted

    def _note(self, delta: ChatDelta) -> None:
        if delta.content:
            _add(self._text, delta.content)
        if delta.reasoning:
            _add(self._reasoning, delta.reasoning)
        if delta.tool_calls:
            self._calls += delta.tool_calls
            if len(self._calls) > _MOST_PIECES:
                self._calls = _together(self._calls)
        if delta.refusal:
            self.has_refusal = True


def _add(pieces: list[str], piece: str) -> None:
    pieces.append(piece)
    if len(pieces) > _MOST_PIECES:
        pieces[:] = ["".join(pieces)]


def _together(calls: list[ToolCallDelta]) -> list[ToolCallDelta]:
    choices = fold([ChatChunk(choices=[ChunkChoice(delta=ChatDelta(tool_calls=calls))])]).choices
    return choices[0].message.tool_calls or []


def can_continue_text(request: ChatRequest, said: Said) -> bool:
    """Whether a final assistant message says all that was said, and nothing holds the rest to a form.

    An engine that holds an answer to a schema, or to a call, would begin that form anew.
    """
    is_formed = request.response_format is not None or (
        request.tool_choice is not None and request.tool_choice.mode in {"required", "function"}
    )
    return not (said.calls or said.has_refusal or is_formed) and bool(said.text.strip())


def continued(request: ChatRequest, said: Said, *, sampled: int) -> tuple[ChatRequest, str]:
    """The request that goes on from what was said, and the white space at the end of that.

    That white space is not sent: templates cut it off, so that the engine says it once more, and whoever
    reads the answer leaves it out there. `sampled` tokens of `max_tokens` are used up. Thinking is over: an
    engine that expected more of it would take the text for that.
    """
    text = said.text
    sent = text.rstrip()
    last = ChatMessage(role="assistant", content=sent, reasoning=said.reasoning or None)
    messages = list(request.messages)
    if request.continue_final:
        begun = messages.pop()
        last = msgspec.structs.replace(begun, content=_plain(begun) + sent)
    limit = None if request.max_tokens is None else max(1, request.max_tokens - sampled)
    request = msgspec.structs.replace(
        request,
        messages=[*messages, last],
        continue_final=True,
        max_tokens=limit,
        reasoning=Reasoning(enabled=False),
    )
    return request, text[len(sent) :]


def _plain(message: ChatMessage) -> str:
    content = message.content
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if isinstance(part, TextPart))


class Overlap:
    """Leaves out of an answer's beginning the white space that was delivered before."""

    def __init__(self, space: str) -> None:
        self._left = space

    def cut(self, batch: list[ChatChunk]) -> None:
        """Shortens the texts of a batch, in place."""
        for chunk in batch:
            for choice in chunk.choices:
                if self._left and choice.delta.content:
                    choice.delta.content = self._rest(choice.delta.content)

    def _rest(self, text: str) -> str:
        same = 0
        while same < min(len(text), len(self._left)) and text[same] == self._left[same]:
            same += 1
        self._left = self._left[same:] if same == len(text) else ""
        return text[same:]


class Sum:
    """The counts of an answer in parts: one prompt, and every sampled token once.

    before: tokens sampled in the parts that are over; prompt: of the first part's prompt, None where its
    engine did not tell.
    """

    def __init__(self, before: int, prompt: int | None) -> None:
        self._before = before
        self._prompt = prompt

    def amend(self, batch: list[ChatChunk]) -> None:
        """Makes the counts of a later part those of the whole answer, in place."""
        for chunk in batch:
            if chunk.usage is not None:
                chunk.usage = self._whole(chunk.usage)

    def _whole(self, usage: ChatUsage) -> ChatUsage:
        prompt = usage.prompt_tokens - self._before if self._prompt is None else self._prompt
        return msgspec.structs.replace(
            usage,
            prompt_tokens=max(0, prompt),
            completion_tokens=self._before + usage.completion_tokens,
        )


def used_up() -> list[ChatChunk]:
    """The end of an answer that has used all the tokens it may."""
    return [ChatChunk(choices=[ChunkChoice(finish_reason="length")])]
