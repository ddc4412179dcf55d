"""The conversation: Messages turns to chat messages, in order, nothing lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from dragoman.errors import InvalidRequestError
from dragoman.translate.compaction import compacted
from dragoman.translate.fitting import fitted
from dragoman.translate.options import Findings, Place, RequestOptions
from dragoman.translate.parts import AnswerText, parts_of, text_inside_answer
from dragoman.translate.server_turns import ServerHistory
from dragoman.translate.system import block_texts, system_text
from dragoman.translate.thinking import earlier_thinking
from dragoman.translate.tool_turns import Calls, add_call, results_of, unanswered
from dragoman.translate.turns import Turn, refusal, turn_text, turns_of
from dragoman.wire.anthropic.blocks import (
    CompactionBlock,
    ContentBlock,
    FallbackBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from dragoman.wire.anthropic.request import CountTokensRequest, Message
from dragoman.wire.openai import ChatMessage, Part, TextPart

_THINKING = (ThinkingBlock, RedactedThinkingBlock)
_MARKS = (FallbackBlock, CompactionBlock)


class Conversation:
    """The chat messages of one request.

    Made of the request's `messages` after the changes of the tools in them were made.
    messages: in order, the system prompt first. continues: the last one is an assistant's that the engine is
    to go on with.
    """

    def __init__(
        self,
        request: CountTokensRequest,
        messages: Sequence[Message],
        options: RequestOptions,
        findings: Findings,
        history: ServerHistory,
    ) -> None:
        self.messages: list[ChatMessage] = []
        self.continues = False
        self._options = options
        self._findings = findings
        can = options.capabilities
        self._joins_result = not can.user_after_result
        self._calls: Calls = {}
        self._ready: dict[str, str] = {}  # results of calls among them that ran here
        self._calls_path = ""
        in_place = can.system_in_place and can.system_at_head
        turns = compacted(turns_of(messages, system_in_place=in_place, findings=findings), findings)
        self._head(request, turns)
        for stretch, assistant in _stretches(turns):
            self._answer(stretch)
            if assistant is not None:
                for part, results in history.rounds(assistant):
                    self._assistant(part, final=assistant is turns[-1] and not results)
                    self._ran_here(results)
        if not self.messages:
            raise InvalidRequestError("messages: at least one message must have content")
        self.messages = fitted(self.messages, can)

    def _head(self, request: CountTokensRequest, turns: list[Turn]) -> None:
        texts = [system_text(block_texts(request.system))]
        if turns and turns[0].role == "system":
            texts.append(turn_text(turns.pop(0)))
        head = "\n".join(filter(None, texts))
        if head:
            self.messages.append(ChatMessage(role="system", content=head))

    # --- user and system turns ---

    def _answer(self, stretch: list[Turn]) -> None:
        """One stretch between two assistant turns: the results of the calls before it, then the rest."""
        results = results_of(
            stretch, self._calls, self._calls_path, self._options, self._findings, ready=self._ready
        )
        self._calls, self._ready = {}, {}
        self.messages += results.messages
        parts = results.images
        for turn in stretch:
            if turn.role == "system":
                self._user(parts)
                self.messages.append(ChatMessage(role="system", content=turn_text(turn)))
            else:
                is_answer = self._add_parts(turn, parts)
                self._user(parts, even_empty=not is_answer)
            parts = []

    def _user(self, parts: list[Part], *, even_empty: bool = False) -> None:
        """A user turn; right behind a result, where the template takes none, its text joins the result."""
        if parts or even_empty:
            texts = [part.text for part in parts if isinstance(part, TextPart)]
            content = "\n".join(texts) if len(texts) == len(parts) else list(_joined(parts))
            last = self.messages[-1] if self.messages else None
            if last is not None and last.role == "tool" and self._joins_result and isinstance(content, str):
                last.content = "\n".join(filter(None, (str(last.content), content)))
                return
            self.messages.append(ChatMessage(role="user", content=content))

    def _add_parts(self, turn: Turn, parts: list[Part]) -> bool:
        """Adds a user turn's texts and images to `parts`; whether it holds results, which came before."""
        is_answer = False
        for place, block in turn.items:
            if isinstance(block, ToolResultBlock):
                is_answer = True
            elif (found := parts_of(block, place, self._options, self._findings)) is not None:
                parts += found
            elif not self._is_mark(block):
                raise refusal(block, place, "user")
        return is_answer

    def _is_mark(self, block: ContentBlock) -> bool:
        """Whether a block is dropped, since it says nothing to a model."""
        if isinstance(block, FallbackBlock):
            self._findings.note("fallback blocks dropped, they only mark a change of model")
            return True
        if isinstance(block, CompactionBlock):
            self._findings.note("compactions without content dropped, they failed")
            return True
        return False

    # --- assistant turns ---

    def _ran_here(self, results: dict[str, str]) -> None:
        """The results of a round that ran here: at once, where the client has none to add."""
        self._ready = results
        if results and results.keys() == self._calls.keys():
            self._answer([])

    def _assistant(self, turn: Turn, *, final: bool) -> None:
        """One assistant turn: its text blocks joined with nothing, and so are its thoughts."""
        said = AnswerText()
        thoughts: list[str] = []
        for place, block in turn.items:
            if isinstance(block, TextBlock):
                said.add(block.text)
            elif isinstance(block, ToolUseBlock):
                add_call(self._calls, block, place, self._options)
            elif isinstance(block, _THINKING):
                thoughts.append(earlier_thinking(block, str(place), self._options, self._findings))
            else:
                self._add_other(said, block, place)
        text, reasoning = str(said), "".join(thoughts)
        if self._calls:
            self._calls_path = f"messages.{turn.items[-1][0].message}"
        if final:
            if not text and not reasoning and not self._calls:
                return
            self._check_prefill(turn, text)
            self.continues = True
        self.messages.append(
            ChatMessage(
                role="assistant",
                content=text or (None if self._calls else ""),
                reasoning=reasoning or None,
                tool_calls=list(self._calls.values()) or None,
            )
        )

    def _add_other(self, said: AnswerText, block: ContentBlock, place: Place) -> None:
        """A block that an assistant of the chat form has no place for: lines of its text, or nothing."""
        flattened = text_inside_answer(block, place, self._options, self._findings)
        if flattened is not None:
            said.add_lines(flattened)
        elif not self._is_mark(block):
            raise refusal(block, place, "assistant")

    def _check_prefill(self, turn: Turn, text: str) -> None:
        """A final assistant turn begins the answer: text, and an engine that can go on with it."""
        path = f"messages.{turn.items[-1][0].message}"
        if self._calls:
            raise unanswered(path, self._calls)
        written = [block for _, block in turn.items if not isinstance(block, _MARKS)]
        if isinstance(written[-1], _THINKING) or not text:
            raise InvalidRequestError(
                f"{path}: The final block in an assistant message cannot be `thinking`."
            )
        if text != text.rstrip():
            raise InvalidRequestError(f"{path}: final assistant content cannot end with trailing whitespace")
        if not self._options.capabilities.continuation:
            raise InvalidRequestError(
                f"{path}: the engine of the model {self._options.model!r} cannot continue an assistant "
                "message (prefill); end with a user message"
            )


def _stretches(turns: list[Turn]) -> Iterator[tuple[list[Turn], Turn | None]]:
    """The user and system turns between assistant turns, with the assistant turn that ends them, if any."""
    stretch: list[Turn] = []
    for turn in turns:
        if turn.role == "assistant":
            yield stretch, turn
            stretch = []
        else:
            stretch.append(turn)
    yield stretch, None


def _joined(parts: list[Part]) -> Iterator[Part]:
    """The same parts, runs of text joined with a newline."""
    for kind, run in groupby(parts, key=type):
        if kind is TextPart:
            yield TextPart(_text(run))
        else:
            yield from run


def _text(parts: Iterable[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))
