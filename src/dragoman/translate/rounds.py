"""The rounds of one message: the engine calls tools that run here, reads what they gave, and goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from dragoman.errors import DragomanError
from dragoman.translate.answer import Answer, Seal, StreamOptions, not_unicode
from dragoman.translate.conformity import later_rounds
from dragoman.translate.deltas import Call
from dragoman.translate.finish import Stop
from dragoman.translate.ids import call_id_in
from dragoman.translate.order import BlockSink, Round, ServerCall
from dragoman.translate.response import MessageBlocks, message_of
from dragoman.translate.server_tools import ChangingTools
from dragoman.translate.stream import MessageStream
from dragoman.translate.usage import add_usage
from dragoman.wire.anthropic.response import (
    MessageOut,
    ServerResultOut,
    ServerToolUsage,
    StopReason,
    Usage,
    WebFetchResultOut,
    WebFetchToolResultOut,
    WebSearchToolResultOut,
)
from dragoman.wire.openai import (
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    FunctionCall,
    ToolCall,
    ToolChoice,
)


class RoundSink(BlockSink, Protocol):
    """What the blocks of such a message are written to."""

    def server_result(self, block: ServerResultOut) -> None:
        """A block that comes whole: what a tool of this server gave back."""


class RoundPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds go by: the first request, the names of the tools, how their results read, the limit.

    tools: all of the conversation's, as a search among them changes what can be called.
    """

    chat: ChatRequest
    names: frozenset[str]
    result_text: Callable[[ServerResultOut], str]
    max_rounds: int
    tools: ChangingTools | None = None


class Rounds:
    """One message in rounds.

    For each: let `answer` read what the engine says, then `end`. It gives the calls to run here; `give` takes
    their results and says what the engine is asked next. When there is nothing to run or to ask, the message
    is over: `stop` and `usage` are set.
    """

    def __init__(self, options: StreamOptions, sink: RoundSink, plan: RoundPlan) -> None:
        self.stop: Stop | None = None
        self.usage: Usage | None = None
        self.calls: list[tuple[str, str]] = []
        self.undelivered = 0
        self.begun = False
        self._options = options
        self._plan = plan
        self._chat = plan.chat
        self._sink = sink
        self._record = _Record(sink)
        self._ran = ServerToolUsage()
        self._number = 1
        self._added = 0  # characters that rounds added to the prompt
        self._ended = Stop("end_turn")
        self._later = later_rounds(options.expected)
        self.answer = Answer(options, self._record, Round(server_tools=plan.names))

    def end(self, input_estimate: int) -> list[ServerCall]:
        """The engine's answer is complete: the calls to run here, [] where the message is over."""
        answer = self.answer
        stop, usage = answer.end(input_estimate + self._added // 4)
        self.usage = add_usage(self.usage, usage)
        self.usage.server_tool_use = self._ran
        self.calls += answer.calls
        self.undelivered += answer.undelivered
        self.begun = self.begun or answer.order.begun
        due = answer.server_calls
        if not due or stop.reason == "refusal":
            self.stop = stop
            return []
        self._ended = stop
        return due

    def give(self, results: Sequence[ServerResultOut]) -> ChatRequest | None:
        """Writes the results of the calls, in order; what to ask next, None where the message is over."""
        for result in results:
            self._sink.server_result(result)
            self._count(result)
        due = self.answer.server_calls
        assert self.usage is not None, "end() comes first"
        left = self._options.max_tokens - self.usage.output_tokens
        if self._ended.reason != "tool_use" or len(self.answer.calls) > len(due):
            self.stop = self._ended
        elif self._number >= self._plan.max_rounds:
            self.stop = Stop("pause_turn")
        elif left <= 0:
            self.stop = Stop("max_tokens")
        if self.stop is not None:
            return None
        self._number += 1
        self._chat = self._next(due, results, left)
        self.answer = Answer(
            msgspec.structs.replace(self._options, max_tokens=left, expected=self._later),
            self._record,
            Round(first_call=self.answer.next_call, follows=True, server_tools=self._plan.names),
        )
        return self._chat

    def full(self) -> None:
        """The engine has no room to read the results: the message ends behind them."""
        self.stop = Stop("model_context_window_exceeded")

    def _next(
        self, calls: Sequence[ServerCall], results: Sequence[ServerResultOut], left: int
    ) -> ChatRequest:
        """The next request: the last one, and this round as it will be read when the client sends it back."""
        chat = self._chat
        messages = list(chat.messages)
        begun = messages.pop() if chat.continue_final else None
        said = self._record.turn(begun)
        said.tool_calls = [
            ToolCall(call_id_in(call.our_id), FunctionCall(call.name, call.arguments)) for call in calls
        ]
        messages.append(said)
        for made, result in zip(said.tool_calls, results, strict=True):
            text = self._plan.result_text(result)
            self._added += len(text) + len(made.function.arguments)
            messages.append(ChatMessage(role="tool", content=text, tool_call_id=made.id))
        forced = chat.tool_choice is not None and chat.tool_choice.mode in {"required", "function"}
        fills = chat.max_tokens is None and left >= (self._options.context_length or left)
        return msgspec.structs.replace(
            chat,
            messages=messages,
            continue_final=False,
            tool_choice=ToolChoice("auto") if forced else chat.tool_choice,
            max_tokens=None if fills else left,
            loaded_tools=chat.loaded_tools if self._plan.tools is None else self._plan.tools.loaded,
            removed_tools=chat.removed_tools if self._plan.tools is None else self._plan.tools.removed,
        )

    def _count(self, result: ServerResultOut) -> None:
        if isinstance(result, WebSearchToolResultOut):
            self._ran.web_search_requests += isinstance(result.content, list)
        elif isinstance(result, WebFetchToolResultOut):
            self._ran.web_fetch_requests += isinstance(result.content, WebFetchResultOut)


class _Record:
    """A sink that passes everything on and keeps what the next round's prompt says of this one."""

    def __init__(self, sink: RoundSink) -> None:
        self._sink = sink
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self.open_text = sink.open_text
        self.close_text = sink.close_text
        self.open_thinking = sink.open_thinking
        self.thinking = sink.thinking
        self.arguments = sink.arguments
        self.open_call: Callable[[Call], None] = sink.open_call
        self.close_call: Callable[[Call], None] = sink.close_call

    def text(self, text: str) -> None:
        """More of the open text block."""
        self._texts.append(text)
        self._sink.text(text)

    def close_thinking(self, thought: str) -> None:
        """The thinking block ends."""
        self._thoughts.append(thought)
        self._sink.close_thinking(thought)

    def turn(self, begun: ChatMessage | None) -> ChatMessage:
        """What was said since the last call, as a turn behind what the client began."""
        text, reasoning = "".join(self._texts), "".join(self._thoughts)
        self._texts.clear()
        self._thoughts.clear()
        if begun is not None:
            text, reasoning = f"{begun.content or ''}{text}", f"{begun.reasoning or ''}{reasoning}"
        return ChatMessage(role="assistant", content=text or None, reasoning=reasoning or None)


class RoundStream(MessageStream):
    """The events of a message in rounds.

    After `end`, `due` are the calls to run here; `give` writes their results, and says what to ask next.
    """

    def __init__(self, options: StreamOptions, seal: Seal, plan: RoundPlan) -> None:
        super().__init__(options, seal)
        self.due: list[ServerCall] = []
        self._rounds = Rounds(options, self._writer, plan)
        self._answer = self._rounds.answer

    @property
    def started_content(self) -> bool:
        """Whether a content block was opened."""
        return self._rounds.begun or self._answer.order.begun

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The complete calls of all rounds."""
        return self._rounds.calls

    @property
    def undelivered_calls(self) -> int:
        """How many calls were left out because the client asked for one at most."""
        return self._rounds.undelivered

    @property
    def usage(self) -> Usage | None:
        """The counts of all rounds that ended."""
        return self._rounds.usage

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the message ended, once it did."""
        return None if self._rounds.stop is None else self._rounds.stop.reason

    def end(self) -> bytes:
        """The engine is done with a round: its last events, those of the message where nothing is due."""
        if self.finished:
            return b""
        try:
            self.due = self._rounds.end(self._input_tokens)
            self._end_if_over()
        except (DragomanError, UnicodeEncodeError) as error:
            return self._fault(error)
        return self._writer.flush()

    def give(self, results: Sequence[ServerResultOut]) -> tuple[bytes, ChatRequest | None]:
        """The events of the results, and what to ask the engine next; None where the message is over."""
        self.due = []
        try:
            chat = self._rounds.give(results)
            self._answer = self._rounds.answer
            self._end_if_over()
        except (DragomanError, UnicodeEncodeError) as error:
            return self._fault(error), None
        return self._writer.flush(), chat

    def full(self) -> bytes:
        """The events of the end where the engine has no room to read the results."""
        self._rounds.full()
        self._end_if_over()
        return self._writer.flush()

    def _end_if_over(self) -> None:
        stop, usage = self._rounds.stop, self._rounds.usage
        if stop is not None and usage is not None:
            self._writer.end(stop, usage)
            self.finished = True


class WholeRounds:
    """A whole message in rounds; equal to what the same rounds are as a stream."""

    def __init__(self, options: StreamOptions, seal: Seal, plan: RoundPlan) -> None:
        self._options = options
        self._blocks = MessageBlocks(options, seal)
        self._rounds = Rounds(options, self._blocks, plan)

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The complete calls of all rounds."""
        return self._rounds.calls

    def take(self, completion: ChatCompletion) -> list[ServerCall]:
        """Reads an engine's answer; the calls to run here, [] where the message is over."""
        try:
            self._rounds.answer.whole(completion)
            return self._rounds.end(self._options.input_estimate)
        except UnicodeEncodeError as error:
            raise not_unicode(error) from error

    def give(self, results: Sequence[ServerResultOut]) -> ChatRequest | None:
        """Takes the results; what to ask the engine next, None where the message is over."""
        return self._rounds.give(results)

    def full(self) -> None:
        """The engine has no room to read the results: the message ends behind them."""
        self._rounds.full()

    def message(self) -> MessageOut:
        """The message, when it is over."""
        stop, usage = self._rounds.stop, self._rounds.usage
        assert stop is not None, "the message is not over"
        assert usage is not None, "the message is not over"
        return message_of(self._options, self._blocks.content, stop, usage)
