"""The story of a request: from a Messages request to an engine, and its answer back."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from dragoman.content.resolver import ContentResolver
from dragoman.engines.base import Answering, EngineHealth
from dragoman.errors import DragomanError, NotSupportedError
from dragoman.ledger.recorder import Ledger
from dragoman.observe.logs import log_error
from dragoman.observe.metrics import Metrics
from dragoman.routing.client import InferenceEngineClient
from dragoman.server_tools.base import ServerTools
from dragoman.server_tools.run import ToolRun
from dragoman.service.preparation import Preparation
from dragoman.service.recording import Keepers, Recording
from dragoman.service.rounds import RoundedStream, whole
from dragoman.service.server_tools import configured_tools
from dragoman.service.spellings import Spellings
from dragoman.service.stream import AnswerStream
from dragoman.service.threads import Threads, Turn
from dragoman.settings import Settings
from dragoman.store.store import Store
from dragoman.translate.grammar import GrammarError
from dragoman.translate.options import Translation
from dragoman.translate.response import encode_message, to_message
from dragoman.translate.rounds import RoundPlan, RoundStream, WholeRounds
from dragoman.translate.server_results import ResultReader
from dragoman.translate.server_tools import ServerTool
from dragoman.translate.signature import NONCE_BYTES, Signer
from dragoman.translate.stream import MessageStream, StreamOptions
from dragoman.translate.usage import usage_estimate
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from dragoman.wire.anthropic.response import MessageOut, Usage
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller
from dragoman.wire.openai import ChatRequest, ModelCard, ToolChoice


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer: its JSON, what it says, and the engine that gave it.

    Whoever sends it calls `recording.delivered` when all of it has gone out, else `recording.released`.
    """

    body: bytes
    message: MessageOut
    engine: str
    recording: Recording


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a prompt, and those that it had before the request's context edits."""

    input_tokens: int
    original_input_tokens: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request on its way: translated, with what its answer's translation has to know.

    plan: where tools of this server are declared, which are `server_tools`; else the engine answers at once.
    """

    caller: Caller
    model: str
    chat: ChatRequest
    options: StreamOptions
    plan: RoundPlan | None = None
    server_tools: dict[str, ServerTool] = {}


class MessagesService:
    """The Messages API over one engine or many.

    `ids` makes an id from its prefix ("msg"). `server_tools` run here, inside answers, in the place of those
    that the settings name. The `size` of a request is the length of its body in bytes: from it comes the
    first guess of its tokens. All methods raise `DragomanError`s only.
    """

    def __init__(
        self,
        client: InferenceEngineClient,
        signer: Signer,
        settings: Settings,
        *,
        ids: Callable[[str], str],
        metrics: Metrics | None = None,
        now: Callable[[], float] = time.time,
        store: Store | None = None,
        server_tools: ServerTools | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.client = client
        self.ledger = ledger
        self.store = store or Store(settings)
        self.metrics = metrics or client.metrics
        self._signer = signer
        self._settings = settings
        self._ids = ids
        self._spellings = Spellings(settings.limits.remembered_calls)
        self.content = ContentResolver(settings, read_file=self.store.files.read_file)
        self._server_tools = (
            configured_tools(settings, self.content) if server_tools is None else server_tools
        )
        self._preparation = Preparation(
            settings,
            signer,
            self._spellings,
            self.metrics,
            count=self._count_chat,
            stages=(self.content,),
            server_tools=self._server_tools.kinds,
        )
        self._threads = Threads(self.store.threads, seconds=settings.threads.seconds, now=now)

    async def create(self, request: MessagesRequest, caller: Caller, *, size: int = 0) -> Answer:
        """The whole answer to a request."""
        async with await self._threads.begin(request, caller) as turn, self._recorded(turn) as recording:
            call = await self._prepare(turn, size)
            with _watched(self.metrics, call.chat):
                message, calls, engine = await self._whole(call, recording.client)
                body = encode_message(message)
            self._remember(call, message.usage, calls)
            await turn.answered(message)
            await recording.answered(message)
        return Answer(body=body, message=message, engine=engine, recording=recording)

    async def stream(self, request: MessagesRequest, caller: Caller, *, size: int = 0) -> AnswerStream:
        """The answer to a request as a stream; raises what the engine refuses before its first answer."""
        async with await self._threads.begin(request, caller) as turn, self._recorded(turn) as recording:
            call = await self._prepare(turn, size)
            with _watched(self.metrics, call.chat):
                return await self._answer_stream(call, turn, recording).opened()

    async def count_tokens(self, request: CountTokensRequest, caller: Caller) -> Counted:
        """Tokens of the prompt, by the engine's own template and tokenizer."""
        model = self.client.resolve(request.model)
        prepared = await self._preparation.prepare(request, caller, model, await self._capabilities(model))
        tokens = await self._count_chat(prepared.translation.chat)
        original = prepared.edited.original_tokens
        return Counted(input_tokens=tokens, original_input_tokens=tokens if original is None else original)

    async def models(self) -> list[ModelCard]:
        """The models that are served, the default first."""
        return await self.client.models()

    def resolve(self, model: str) -> str:
        """The served model for a name, which may be an alias; `NotFoundError` lists what there is."""
        with _watched(self.metrics):
            return self.client.resolve(model)

    async def health(self) -> EngineHealth:
        """Whether a request could be answered now."""
        return await self.client.health()

    async def start_ledger(self) -> None:
        """Looks whether the ledger can be read and written, where there is one."""
        if self.ledger is not None:
            await self.ledger.start()

    async def aclose(self) -> None:
        """Closes the engines, then all that was started for requests, and the store. Safe to call twice."""
        async with AsyncExitStack() as stack:
            if self.ledger is not None:
                stack.push_async_callback(self.ledger.aclose)
            for part in (self.store, self._threads, self.content, self.client):
                stack.push_async_callback(part.aclose)

    # ---- the steps ---------------------------------------------------------------------------------------

    async def _prepare(self, turn: Turn, size: int) -> Call:
        request, caller = turn.request, turn.caller
        model = self.client.resolve(request.model)
        capabilities = await self._capabilities(model)
        prepared = await self._preparation.prepare(request, caller, model, capabilities)
        translation = prepared.translation
        options = StreamOptions(
            message_id=self._ids("msg"),
            model=request.model,
            request_id=caller.request_id,
            display=translation.display,
            context_management=prepared.edited.applied,
            max_tokens=translation.max_tokens,
            context_length=capabilities.context_length,
            held_bytes=self._settings.limits.held_bytes,
            parallel=translation.chat.parallel_tool_calls is not False,
            may_call=translation.chat.tool_choice != ToolChoice("none"),
            input_estimate=usage_estimate(size + turn.size),
            expected=translation.expected,
        )
        return Call(
            caller=caller,
            model=model,
            chat=translation.chat,
            options=options,
            plan=self._plan(translation),
            server_tools=translation.server_tools,
        )

    @asynccontextmanager
    async def _recorded(self, turn: Turn) -> AsyncIterator[Recording]:
        """The recording of a turn, which notes what fails inside."""
        recording = await Recording.begun(self.client, self.ledger, turn.request, turn.caller)
        turn.request = recording.request or turn.request
        try:
            yield recording
        except DragomanError as error:
            await recording.failed(error)
            raise
        except BaseException:  # cancelled: the client is gone
            recording.is_begun = True
            await recording.released()
            raise
        recording.is_begun = True

    async def _whole(self, call: Call, client: Answering) -> tuple[MessageOut, list[tuple[str, str]], str]:
        """The message, its complete calls, and the engine that gave it."""
        if call.plan is None:
            completion = await client.chat_completion(call.chat)
            return *to_message(completion, call.options, self._seal), completion.engine
        rounds = WholeRounds(call.options, self._seal, call.plan)
        engine = await whole(client, call.chat, rounds, self._tool_run(call))
        return rounds.message(), rounds.calls, engine

    def _answer_stream(self, call: Call, turn: Turn, recording: Recording) -> AnswerStream:
        more: dict[str, Any] = {
            "estimate": call.options.input_estimate,
            "ping_interval": self._settings.ping_interval,
            "on_first": partial(self.metrics.first_token, call.model),
            "on_end": partial(self._streamed, call),
            "keeper": turn if self.ledger is None else Keepers(turn, recording),
        }
        if call.plan is None:
            return AnswerStream(recording.client, call.chat, MessageStream(call.options, self._seal), **more)
        events = RoundStream(call.options, self._seal, call.plan)
        return RoundedStream(recording.client, call.chat, events, self._tool_run(call), **more)

    def _plan(self, translation: Translation) -> RoundPlan | None:
        """How the tools of this server that a request declares are run; None where it declares none."""
        chat = translation.chat
        if not translation.server_tools or translation.tools is None:
            return None
        return RoundPlan(
            chat=chat,
            names=frozenset(translation.server_tools),
            result_text=ResultReader(self._signer.open, translation.tools.load).own,
            tools=translation.tools,
            max_rounds=self._settings.server_tools.max_rounds,
        )

    def _tool_run(self, call: Call) -> ToolRun:
        return ToolRun(
            self._server_tools,
            call.server_tools,
            call.chat.hidden_tools,
            seal=lambda text: self._seal(text, False),
            now=partial(datetime.now, UTC),
            request_id=call.caller.request_id,
        )

    async def _capabilities(self, model: str) -> EngineCapabilities:
        with _watched(self.metrics):
            return await self.client.capabilities(model)

    async def _count_chat(self, chat: ChatRequest) -> int:
        with _watched(self.metrics, chat):
            return await self.client.count_tokens(chat)

    def _seal(self, text: str, visible: bool) -> str:
        return self._signer.seal(text, visible=visible, nonce=secrets.token_bytes(NONCE_BYTES))

    def _streamed(self, call: Call, answer: AnswerStream) -> None:
        self._remember(call, answer.events.usage, answer.events.calls)
        if answer.error is not None:
            _count(self.metrics, answer.engine, answer.error)
            log_error(call.caller.request_id, answer.error)

    def _remember(self, call: Call, usage: Usage | None, calls: list[tuple[str, str]]) -> None:
        self._spellings.remember(call.caller, calls)
        if usage is not None:
            self.metrics.tokens(
                call.model,
                read=usage.input_tokens,
                cached=usage.cache_read_input_tokens,
                written=usage.output_tokens,
            )


@contextmanager
def _watched(metrics: Metrics, chat: ChatRequest | None = None) -> Iterator[None]:
    """Counts the engine's failures inside a `with` block; without a request no engine is chosen yet."""
    try:
        yield
    except DragomanError as error:
        _count(metrics, chat.engine if chat is not None else "", error)
        raise


def _count(metrics: Metrics, engine: str, error: DragomanError) -> None:
    """Counts an error that is the engine's or ours; not the client's."""
    if isinstance(error, GrammarError):
        metrics.grammar_violated()
    elif error.status >= 500 and error.status != NotSupportedError.status and not error.is_counted:
        metrics.engine_failed(engine, error.type)
