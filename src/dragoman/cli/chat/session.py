"""The conversation: what the person says, what the server answers, and what the next request holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import msgspec

from dragoman.cli.chat.answer import Answer, Block, Call
from dragoman.cli.chat.client import ChatClient, ServerError
from dragoman.cli.chat.images import ImageError, image_block, mentioned
from dragoman.cli.chat.screen import Screen
from dragoman.cli.terminal import harmless

T = TypeVar("T")

ENDINGS = {
    "max_tokens": "The answer was cut: it reached --max-tokens.",
    "model_context_window_exceeded": "The answer was cut: the model's context is full. /clear begins anew.",
    "refusal": "The model refused to answer.",
}
NO_RESULT = "The user gave no result for this call."
NO_TEXT = "This line is no text in UTF-8."
STOPPED = "stopped"
_PROMPT = 50
_TICK = 0.125


class Options(msgspec.Struct, kw_only=True):
    """What every request of a conversation asks for."""

    model: str
    max_tokens: int = 8192
    system: str = ""
    thinking: bool = True
    temperature: float | None = None
    tools: tuple[msgspec.Raw, ...] = ()


class Run(Protocol):
    """Runs a coroutine to its end; Ctrl-C cancels it and raises `KeyboardInterrupt`."""

    def __call__(self, coro: Coroutine[Any, Any, T], /) -> T:
        """Its result."""


class Conversation:
    """The turns so far, and the way to the next one."""

    def __init__(self, client: ChatClient, screen: Screen, run: Run, options: Options) -> None:
        self.client = client
        self.options = options
        self.messages: list[dict[str, Any]] = []
        self.attached: list[Block] = []
        self.screen = screen
        self.run = run

    def clear(self) -> None:
        """Forgets all turns."""
        self.messages.clear()
        self.attached.clear()

    def attach(self, path: str) -> None:
        """Puts an image before the next message; raises `ImageError`."""
        self.attached.append(image_block(path))

    def compose(self, text: str, *, mentions: bool = True) -> list[Block]:
        """The blocks of a message: the attached images, those that it mentions, its text."""
        images = [*self.attached, *(image_block(path) for path in mentioned(text) if mentions)]
        self.attached.clear()
        return [*images, {"type": "text", "text": text}]

    def say(self, content: list[Block], results: Callable[[Call], str] | None = None) -> bool:
        """Sends a message and shows what is answered, calls and results included; whether all went well.

        `results` asks for a call's result, "" for none; without it a call is the end. A message that got no
        answer is taken back, so that the next one does not meet the same failure; results stay, as calls do.
        """
        self.messages.append({"role": "user", "content": content})
        while True:
            answer, is_whole = self._answer()
            kept = answer.content()
            if kept:
                self.messages.append({"role": "assistant", "content": kept})
            elif not is_whole and not _holds_results(self.messages[-1]):
                self.messages.pop()
            calls = answer.calls()
            if calls and results is not None:
                given = [_result(call, results(call)) for call in calls]
                self.messages.append({"role": "user", "content": given})
            elif calls or not (is_whole and kept and answer.stop_reason == "pause_turn"):
                return is_whole

    def _answer(self) -> tuple[Answer, bool]:
        """What came of an answer, shown as it came, and whether it came to its end."""
        answer = Answer()
        failure = ""
        try:
            with self.screen.answering():
                self.run(self._stream(answer))
        except KeyboardInterrupt:
            failure = STOPPED
        except ServerError as error:
            if self._asks_again_without_thinking(error):
                return self._answer()
            failure = str(error)
        self._tell_end(answer, failure)
        return answer, not failure

    async def _stream(self, answer: Answer) -> None:
        events = self.client.stream(self._request())
        ticks = asyncio.create_task(self._tick())
        try:
            async for data in events:
                shown = answer.take(data)
                if shown is not None:
                    self.screen.show(shown)
        except msgspec.DecodeError as error:
            raise ServerError(f"the server sent an event that cannot be read: {error}") from error
        finally:
            ticks.cancel()
            await events.aclose()
        if not answer.is_complete:
            raise ServerError("the answer ended before it was complete")

    async def _tick(self) -> None:
        while True:
            self.screen.tick()
            await asyncio.sleep(_TICK)

    def _request(self) -> dict[str, Any]:
        options = self.options
        request: dict[str, Any] = {
            "model": options.model,
            "max_tokens": options.max_tokens,
            "messages": self.messages,
        }
        if options.system:
            request["system"] = options.system
        if options.tools:
            request["tools"] = options.tools
        if options.temperature is not None:
            request["temperature"] = options.temperature
        if options.thinking:
            request["thinking"] = {"type": "adaptive", "display": "summarized"}
        return request

    def _asks_again_without_thinking(self, error: ServerError) -> bool:
        """Whether the server refused the wish for thinking: older models know no adaptive one."""
        if not (self.options.thinking and error.status == 400 and "thinking" in str(error)):
            return False
        self.options.thinking = False
        self.screen.note("This model does not take the request for thinking; it goes on without.")
        return True

    def _tell_end(self, answer: Answer, failure: str) -> None:
        if failure == STOPPED:
            self.screen.note("Stopped.")
        elif failure:
            self.screen.error(failure)
        else:
            if answer.stop_reason in ENDINGS:
                self.screen.error(ENDINGS[answer.stop_reason])
            self.screen.note(_counts(answer.usage, self.options.model))


def _counts(usage: dict[str, Any], model: str) -> str:
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    read = sum(usage[name] for name in names if isinstance(usage.get(name), int))
    return f"{model}: {read} tokens read, {usage.get('output_tokens', 0)} written"


def proper(text: str) -> str:
    """The text with a question mark for each byte that was no UTF-8: no request could hold it."""
    return text.encode(errors="replace").decode()


def _result(call: Call, text: str) -> Block:
    if text:
        return {"type": "tool_result", "tool_use_id": call.id, "content": text}
    return {"type": "tool_result", "tool_use_id": call.id, "content": NO_RESULT, "is_error": True}


def _holds_results(message: dict[str, Any]) -> bool:
    return any(block["type"] == "tool_result" for block in message["content"])


# ---- what the person types -------------------------------------------------------------------------------

HELP = """\
/image PATH    put an image before the next message (PNG, JPEG, GIF, WebP); @PATH inside a message does it too
/model [NAME]  the models that there are, or take another one
/clear         begin anew: the model forgets all that was said
/help          this
/quit          end; Ctrl-D and, at the prompt, Ctrl-C do it too
Where the model calls a tool, type its result; nothing means that there is none, which the model is told.
A line that ends with \\ goes on in the next one. Ctrl-C stops an answer."""


class Session:
    """The loop at a terminal: commands, messages, results of calls."""

    def __init__(self, conversation: Conversation, read: Callable[[str], str]) -> None:
        self._conversation = conversation
        self._screen = conversation.screen
        self._read = read
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/image": self._image,
            "/model": self._model,
            "/clear": self._clear,
        }

    def loop(self) -> None:
        """Goes on until the person ends it."""
        options, url = self._conversation.options, self._conversation.client.url
        self._screen.note(f"{options.model} at {url}. /help lists the commands, Ctrl-D ends.")
        while True:
            try:
                self._screen.note("")
                line = proper(self._read("> ").strip())
                if line in {"/quit", "/exit"}:
                    return
                self._take(line)
            except (EOFError, KeyboardInterrupt):
                self._screen.note("")
                return
            except UnicodeDecodeError:
                self._screen.error(NO_TEXT)

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word in self._commands:
            self._commands[word](rest.strip())
        elif word.startswith("/") and word[1:].isalpha():
            self._screen.error(f"{word} is no command; /help lists them")
        elif line:
            try:
                content = self._conversation.compose(line)
            except ImageError as error:
                self._screen.error(str(error))
                return
            self._conversation.say(content, self._ask_result)

    def _ask_result(self, call: Call) -> str:
        # with the arguments, since several calls may bear one name; a prompt must stay on its line
        shown = harmless(f"{call.name} {call.arguments}")
        prompt = f"result of {shown[:_PROMPT]}{'…' if len(shown) > _PROMPT else ''}> "
        try:
            return proper(self._read(prompt).strip())
        except UnicodeDecodeError:
            # the call is asked already: without any result no later request would be taken
            self._screen.error(f"{NO_TEXT} The model is told that there is no result.")
            return ""

    def _help(self, _rest: str) -> None:
        self._screen.note(HELP)

    def _clear(self, _rest: str) -> None:
        self._conversation.clear()
        self._screen.note("All is forgotten.")

    def _image(self, rest: str) -> None:
        path = rest.strip("\"'")
        try:
            self._conversation.attach(path)
        except ImageError as error:
            self._screen.error(str(error))
        else:
            self._screen.note(f"{path} goes with the next message.")

    def _model(self, rest: str) -> None:
        if rest:
            self._conversation.options.model = rest
        current = self._conversation.options.model
        try:
            names = self._conversation.run(self._conversation.client.models())
        except KeyboardInterrupt:
            return
        except ServerError as error:
            self._screen.error(str(error))
            return
        if current not in names:
            self._screen.note(f"* {current} (not listed by this server)")
        for name in names:
            self._screen.note(f"{'*' if name == current else ' '} {name}")
