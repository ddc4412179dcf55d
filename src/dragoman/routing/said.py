"""What an answer said so far, and the request that goes on from there. Pure."""

from __future__ import annotations

import msgspec

from dragoman.wire.openai import (
    ChatChunk,
    ChatDelta,
    ChatMessage,
    ChatRequest,
    ChatUsage,
    ChunkChoice,
    TextPart,
)

ABORTED = "abort"


class Said:
    """What the chunks of an answer said, as far as it was handed out.

    prompt_ids, ids: token ids of the prompt and of the answer, where the engine tells them. text, reasoning:
    in pieces. usage: the newest. is_more: it holds what no final assistant message can: calls, a refusal.
    is_finished: its finish reason came.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.prompt_ids: list[int] | None = None
        self.ids: list[int] = []
        self.usage: ChatUsage | None = None
        self.is_more = False
        self.is_finished = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said yet, so that another engine can begin anew."""
        return not (self.text or self.reasoning or self.is_more)

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
                    self.ids += choice.token_ids
                if choice.finish_reason == ABORTED:
                    choice.finish_reason = None
                    is_aborted = True
                elif choice.finish_reason:
                    self.is_finished = True
        return is_aborted

    def _note(self, delta: ChatDelta) -> None:
        if delta.content:
            self.text.append(delta.content)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.tool_calls or delta.refusal:
            self.is_more = True


def can_continue_text(request: ChatRequest, said: Said) -> bool:
    """Whether a final assistant message says all that was said, and nothing holds the rest to a form.

    An engine that holds an answer to a schema, or to a call, would begin that form anew.
    """
    is_formed = request.response_format is not None or (
        request.tool_choice is not None and request.tool_choice.mode in {"required", "function"}
    )
    return not (said.is_more or is_formed) and bool("".join(said.text).strip())


def continued(request: ChatRequest, said: Said, *, sampled: int) -> tuple[ChatRequest, str]:
    """The request that goes on from what was said, and the white space at the end of that.

    That white space is not sent: templates cut it off, so that the engine says it once more, and whoever
    reads the answer leaves it out there. `sampled` tokens of `max_tokens` are used up.
    """
    text = "".join(said.text)
    sent = text.rstrip()
    last = ChatMessage(role="assistant", content=sent, reasoning="".join(said.reasoning) or None)
    messages = list(request.messages)
    if request.continue_final:
        begun = messages.pop()
        last = msgspec.structs.replace(begun, content=_plain(begun) + sent)
    limit = None if request.max_tokens is None else max(1, request.max_tokens - sampled)
    request = msgspec.structs.replace(
        request, messages=[*messages, last], continue_final=True, max_tokens=limit
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
