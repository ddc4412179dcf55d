"""What an engine's answer says, streamed or whole: the one reading of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from dragoman.errors import EngineFaultError
from dragoman.translate.conformity import Expected, Watch
from dragoman.translate.deltas import CallTable
from dragoman.translate.finish import (
    Finish,
    Stop,
    context_is_full,
    is_nearly_used_up,
    is_used_up,
    read_finish,
    stop_of,
)
from dragoman.translate.order import FIRST, BlockOrder, BlockSink, Cut, Round, ServerCall
from dragoman.translate.usage import to_usage
from dragoman.wire.anthropic.response import AppliedEdits, Usage
from dragoman.wire.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatUsage,
    ChunkChoice,
    FoldedCompletion,
)

Seal = Callable[[str, bool], str]
"""From a thought, and whether the client sees it, to its signature."""


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer's translation knows of the request.

    model: the name that the client asked for. max_tokens: as asked; 0 wants no content. context_length: in
    tokens, None where it is not known. held_bytes: the bound of what waits while a call is open. parallel
    False: one call at most is delivered. may_call False: the request forbade calls. input_estimate: input
    tokens, for an engine that tells no usage. expected: what the answer must hold. context_management: the
    edits that the history went through.
    """

    message_id: str
    model: str
    max_tokens: int
    request_id: str = ""
    display: Literal["summarized", "omitted", "off"] = "off"
    context_management: AppliedEdits | UnsetType = UNSET
    context_length: int | None = None
    held_bytes: int = 4 * 1024 * 1024
    parallel: bool = True
    may_call: bool = True
    input_estimate: int = 1
    expected: Expected | None = None

    @property
    def shows_thinking(self) -> bool:
        """Whether the client sees the text of thinking; where it did not ask for any, it sees what came."""
        return self.display != "omitted"


class Answer:
    """One answer: feeds what it says to a sink in the order of blocks, and knows how it ended.

    `stop` and `usage` are there after `end`. All methods raise `EngineFaultError` for what is no legal
    answer.
    """

    def __init__(self, options: StreamOptions, sink: BlockSink, round_: Round = FIRST) -> None:
        expected = options.expected
        room = options.held_bytes
        self._watch = None if expected is None else Watch(expected, sink, room, follows=round_.follows)
        self.order = BlockOrder(
            self._watch or sink,
            message_id=options.message_id,
            held_bytes=options.held_bytes,
            # of a single call that is named, the first of that name is the one
            parallel=options.parallel or (expected is not None and expected.single),
            round_=round_,
        )
        self.stop: Stop | None = None
        self.usage: Usage | None = None
        self._options = options
        self._table = CallTable(round_.first_call)
        self._finish: Finish | None = None
        self._matched: str | None = None
        self._counts: ChatUsage | None = None
        self._written = 0
        self._refused = False

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The complete calls that were delivered: our id, and the arguments as the model wrote them."""
        calls = self.order.calls
        return calls if self._watch is None else self._watch.delivered(calls)

    @property
    def undelivered(self) -> int:
        """How many calls were left out: more than one where one was asked for, or of another tool."""
        return self.order.undelivered + (0 if self._watch is None else self._watch.left_out)

    @property
    def server_calls(self) -> list[ServerCall]:
        """Those of them whose tools run on this server."""
        made = self.order.server_calls
        if self._watch is None or not made:
            return made
        delivered = {our_id for our_id, _ in self.calls}
        return [call for call in made if call.our_id in delivered]

    @property
    def next_call(self) -> int:
        """The number of the next call of the message."""
        return self._table.next

    def chunk(self, chunk: ChatChunk) -> None:
        """Takes one chunk of a stream. Only choice 0 is read: one answer was asked for."""
        if chunk.usage is not None:
            self._counts = chunk.usage
        for choice in chunk.choices:
            if choice.index == 0:
                if self._options.max_tokens:
                    self._read(choice.delta)
                if choice.finish_reason:  # some servers say "" until the end
                    self._finished(choice)

    def whole(self, completion: ChatCompletion) -> None:
        """Takes a whole answer; one that came as a stream is read as that stream."""
        if isinstance(completion, FoldedCompletion):
            for chunk in completion.chunks:
                self.chunk(chunk)
            return
        self._counts = completion.usage
        choice = next((choice for choice in completion.choices if choice.index == 0), None)
        if choice is None:
            raise EngineFaultError("The engine sent an answer without content.", log_detail="no choice 0")
        if self._options.max_tokens:
            self._read(choice.message)
        if choice.finish_reason:
            self._finished(choice)

    def end(self, input_estimate: int) -> tuple[Stop, Usage]:
        """The end of the answer: closes what is open, says why it ended and what it cost."""
        finish, options, order = self._finish, self._options, self.order
        if finish is None:
            raise EngineFaultError("The engine's answer ended before it was complete.")
        self.usage = to_usage(self._counts, input_estimate=input_estimate, written=self._written)
        if options.max_tokens:
            cut = self._cut(finish)
            order.finish(cut)
            calls = self.calls
            if cut is not Cut.BY_STOP and finish is Finish.STOPPED and order.cut_calls:
                finish = Finish.LENGTH
            self.stop = stop_of(
                finish,
                self._matched,
                calls=len(calls),
                cut_calls=order.cut_calls,
                context_full=context_is_full(self._counts, options.max_tokens, options.context_length),
            )
            if self._watch is not None:
                self._watch.check(self.stop, calls, refused=self._refused)
        else:
            # The engine samples one token at least; it was not asked for and is not shown.
            self.stop = Stop("max_tokens")
            self.usage.output_tokens = 0
            self.usage.output_tokens_details = None
        return self.stop, self.usage

    def _cut(self, finish: Finish) -> Cut:
        """What may have ended the answer before the model was done with it."""
        options = self._options
        if finish is not Finish.STOPPED:
            return Cut.BY_LENGTH
        if self._matched is not None:
            return Cut.BY_STOP
        if is_used_up(self._counts, options.max_tokens, options.context_length):
            return Cut.BY_LENGTH
        return Cut.PERHAPS if is_nearly_used_up(self._counts, options.context_length) else Cut.NOT

    def _read(self, said: ChatDelta | ChatAnswer) -> None:
        """Reads what one chunk, or a whole answer, adds: thinking first, then text, then calls."""
        if said.reasoning:
            self._written += len(said.reasoning)
            self.order.thinking(said.reasoning)
        if said.content:
            self._written += len(said.content)
            self.order.text(said.content)
        if said.refusal:
            self._written += len(said.refusal)
            self._refused = True
            self.order.text(said.refusal)
        if said.tool_calls:
            self._calls(said)

    def _calls(self, said: ChatDelta | ChatAnswer) -> None:
        if not self._options.may_call:
            raise EngineFaultError("The engine called a tool, which the request's tool_choice forbids.")
        for delta in said.tool_calls or ():
            # In a whole answer every entry is a call, whatever its index and id say.
            call = self._table.new() if isinstance(said, ChatAnswer) else self._table.find(delta)
            if delta.function is not None:
                self._written += len(delta.function.arguments or "")
            self.order.call(call, delta)

    def _finished(self, choice: ChunkChoice | ChatChoice) -> None:
        assert choice.finish_reason is not None
        self._finish = read_finish(choice.finish_reason)
        if isinstance(choice.matched_stop, str) and choice.matched_stop:
            self._matched = choice.matched_stop


def not_unicode(error: UnicodeEncodeError) -> EngineFaultError:
    """The fault of half a surrogate pair, which an engine inside this process may say."""
    return EngineFaultError("The engine sent text that is not Unicode.", log_detail=error.reason)
