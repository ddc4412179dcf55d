"""What a client's requests become, turn by turn: recorded in a running server, for every kind of template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import msgspec

from dragoman.engines.scripted import SCRIPTED_CAPABILITIES, ScriptedInferenceEngine, Scripts
from dragoman.routing.client import InferenceEngineClient
from dragoman.server.ids import new_id
from dragoman.service import Answer, AnswerStream, MessagesService, signature_keys
from dragoman.settings import Settings
from dragoman.translate.signature import Signer
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller
from dragoman.wire.openai import ChatRequest
from tests.support.serving import serving

MODEL = "scripted"
MAIN = "main"


class Habits(msgspec.Struct, frozen=True, order=True):
    """What the translation asks of a template; the names are those of `EngineCapabilities`."""

    system_at_head: bool = True
    system_in_place: bool = True
    images: bool = True
    user_after_result: bool = True
    calls_together: bool = True
    calls_without_text: bool = True

    @classmethod
    def of(cls, can: EngineCapabilities) -> Habits:
        """The habits among what an engine can do."""
        return cls(*(getattr(can, name) for name in cls.__struct_fields__))

    @property
    def capabilities(self) -> EngineCapabilities:
        """An engine whose model has a template with these habits."""
        return msgspec.structs.replace(
            SCRIPTED_CAPABILITIES, context_length=1_000_000, **msgspec.structs.asdict(self)
        )


_SYSTEM = ((True, True), (True, False), (False, False))
# No template departs from two of these at a time.
_CALLS = ((True, True, True), (False, True, True), (True, False, True), (True, True, False))
ALL_HABITS = [
    Habits(*system, images, *calls) for system, images, calls in product(_SYSTEM, (True, False), _CALLS)
]

Turns = list[ChatRequest]


class Recorded(msgspec.Struct):
    """One scenario: for each of its conversations, the neutral requests in order, by kind of template."""

    conversations: dict[str, dict[Habits, Turns]]

    def of(self, habits: Habits) -> dict[str, Turns]:
        """The conversations as a template with these habits gets them."""
        return {name: turns[habits] for name, turns in self.conversations.items()}


class RecordingService(MessagesService):
    """The service as it is; of each request it keeps what every kind of template would get of it.

    A conversation is the main one or a sub-agent's; `starts_anew` says whether a request belongs to the one
    that the client has begun in its place.
    """

    def __init__(
        self, client: InferenceEngineClient, settings: Settings, starts_anew: Callable[[ChatRequest], bool]
    ) -> None:
        super().__init__(client, Signer(signature_keys(settings)), settings, ids=new_id)
        self.recorded = Recorded({})
        self._starts_anew = starts_anew
        self._agents: dict[str, str] = {}

    async def create(self, request: MessagesRequest, caller: Caller, *, size: int = 0) -> Answer:
        """The answer, and a record."""
        await self._record(request, caller)
        return await super().create(request, caller, size=size)

    async def stream(self, request: MessagesRequest, caller: Caller, *, size: int = 0) -> AnswerStream:
        """The answer as a stream, and a record."""
        await self._record(request, caller)
        return await super().stream(request, caller, size=size)

    async def _record(self, request: CountTokensRequest, caller: Caller) -> None:
        chats = {}
        for habits in ALL_HABITS:
            prepared = await self._preparation.prepare(request, caller, MODEL, habits.capabilities)
            chats[habits] = prepared.translation.chat
        turns = self.recorded.conversations.setdefault(self._conversation(caller, chats[ALL_HABITS[0]]), {})
        for habits, chat in chats.items():
            turns.setdefault(habits, []).append(chat)

    def _conversation(self, caller: Caller, chat: ChatRequest) -> str:
        agent = caller.agent_id
        if agent is not None:
            return self._agents.setdefault(agent, f"agent {len(self._agents) + 1}")
        return f"{MAIN}, anew" if self._starts_anew(chat) else MAIN


@contextmanager
def recording(
    scripts: Scripts, starts_anew: Callable[[ChatRequest], bool] = lambda _: False
) -> Iterator[tuple[str, Recorded]]:
    """A server that plays scripts: its address, and the record that fills while it is used."""
    engine = ScriptedInferenceEngine(scripts, models=[MODEL], capabilities=ALL_HABITS[0].capabilities)
    settings = Settings(text_only_images="note")
    service = RecordingService(InferenceEngineClient([engine], settings), settings, starts_anew)
    with serving(service, text_only_images="note") as running:
        yield running.url, service.recorded
