"""The engines' own OpenAI API behind the same routing: bodies as they are, but for model and session."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import msgspec

from dragoman.engines.base import RelayedAnswer
from dragoman.errors import EngineFaultError, InvalidRequestError
from dragoman.routing.client import InferenceEngineClient
from dragoman.wire.openai import ChatUsage, total_usage
from dragoman.wire.tokens import RelayRequest

COMPLETIONS = "/v1/completions"
OPENAI_PATHS = ("/v1/chat/completions", COMPLETIONS)
# Where a streamed answer tells its usage: in one of its last events.
_TAIL_BYTES = 8192
_Session = str | int
_MOST_BRACES = 8


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the name of the key, and the session that a header names ("" for none)."""

    scope: str = ""
    session: str = ""
    request_id: str = ""


class Passing(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to the engines: one request, or one for each prompt of a batch."""

    requests: list[RelayRequest]
    is_streamed: bool

    @property
    def engine(self) -> str:
        """The engines that were asked, each once."""
        return ", ".join(dict.fromkeys(request.engine for request in self.requests if request.engine))


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    content_type: str
    body: bytes
    usage: ChatUsage | None


class OpenAIDoor:
    """Passes Chat Completions and Completions on; all methods raise `DragomanError`s only."""

    def __init__(self, client: InferenceEngineClient) -> None:
        self.client = client

    def read(self, path: str, body: bytes, caller: Caller) -> Passing:
        """The requests of a body; `InvalidRequestError` by field where it cannot be passed on.

        `session_id` is taken out: one for all, or for a batch of prompts a list of as many.
        """
        members = _members(body)
        model = self.client.resolve(_decoded(members, "model", str))
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
        is_streamed = _decoded(members, "stream", bool | None) is True
        prompts = _prompts(members) if path == COMPLETIONS else None
        said = _decoded(members, "session_id", _Session | list[_Session] | None)
        members.pop("session_id", None)
        if prompts is None:
            sessions, bodies = [_one_session(said, caller.session)], [members]
        elif is_streamed:
            raise InvalidRequestError("stream: cannot be used with several prompts")
        else:
            sessions = _sessions(said, caller.session, len(prompts))
            bodies = [{**members, "prompt": prompt} for prompt in prompts]
        requests = [
            RelayRequest(
                path=path,
                body=msgspec.json.encode(each),
                model=model,
                placement_key=f"{caller.scope}\0{session}" if session else None,
                request_id=caller.request_id,
            )
            for each, session in zip(bodies, sessions, strict=True)
        ]
        return Passing(requests=requests, is_streamed=is_streamed)

    async def stream(self, passing: Passing) -> RelayedAnswer:
        """The engine's answer as it comes."""
        return await self.client.relay(passing.requests[0])

    async def whole(self, passing: Passing) -> Passed:
        """The whole answer; that of a batch is all of it or an error."""
        if len(passing.requests) == 1:
            return await self._one(passing.requests[0])
        tasks = [asyncio.create_task(self._one(request)) for request in passing.requests]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        wrong = next((answer for answer in answers if answer.status != 200), None)
        return wrong or _joined(answers)

    async def _one(self, request: RelayRequest) -> Passed:
        answer = await self.client.relay(request)
        try:
            body = b"".join([piece async for piece in answer])
        finally:
            await answer.aclose()
        return Passed(
            status=answer.status,
            content_type=answer.content_type,
            body=body,
            usage=usage_in(body[-_TAIL_BYTES:]) if answer.status == 200 else None,
        )


class Tail:
    """The end of a stream, for the usage in it."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, piece: bytes) -> None:
        """More of the stream."""
        self._bytes = (
            piece[-_TAIL_BYTES:] if len(piece) >= _TAIL_BYTES else (self._bytes + piece)[-_TAIL_BYTES:]
        )

    @property
    def usage(self) -> ChatUsage | None:
        """The counts, where the stream told them."""
        return usage_in(self._bytes)


def usage_in(data: bytes) -> ChatUsage | None:
    """The last counts in an answer's end; None where it tells none."""
    at = data.rfind(b'"usage":')
    if at < 0:
        return None
    text = data[at + len(b'"usage":') :]
    # the object ends at one of its first braces: it holds others
    ends = [found.end() for found in islice(re.finditer(rb"}", text), _MOST_BRACES)]
    for end in ends:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(text[:end], type=ChatUsage)
    return None


# ---- a body ------------------------------------------------------------------------------------------------


def _members(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not a JSON object: {error}") from error


def _decoded(members: dict[str, msgspec.Raw], name: str, kind: Any) -> Any:
    """A member's value; None where it is missing and may be."""
    raw = members.get(name, msgspec.Raw(b"null"))
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"{name}: {error}") from error


def _prompts(members: dict[str, msgspec.Raw]) -> list[msgspec.Raw] | None:
    """The prompts of a batch; None where there is one: a text, token ids, or what the engine may refuse."""
    if not bytes(members.get("prompt", msgspec.Raw(b"null"))).lstrip().startswith(b"["):
        return None
    prompts: list[msgspec.Raw] = _decoded(members, "prompt", list[msgspec.Raw])
    is_batch = len(prompts) > 1 and all(bytes(one).lstrip()[:1] in {b'"', b"["} for one in prompts)
    return prompts if is_batch else None


def _one_session(said: _Session | list[_Session] | None, header: str) -> str:
    if isinstance(said, list):
        raise InvalidRequestError("session_id: a list needs a list of prompts")
    text = "" if said is None else str(said)
    if text and header and text != header:
        raise InvalidRequestError("session_id: differs from the header X-Session-ID")
    return text or header


def _sessions(said: _Session | list[_Session] | None, header: str, count: int) -> list[str]:
    if not isinstance(said, list):
        return [_one_session(said, header)] * count
    if len(said) != count:
        raise InvalidRequestError(f"session_id: {len(said)} sessions for {count} prompts")
    return [_one_session(each, header) for each in said]


# ---- a batch's answer --------------------------------------------------------------------------------------


class _Answer(msgspec.Struct):
    choices: list[dict[str, msgspec.Raw]]
    usage: ChatUsage | None = None


def _joined(answers: Sequence[Passed]) -> Passed:
    """The first answer with all choices, numbered on, and the sum of the counts."""
    try:
        read = [msgspec.json.decode(answer.body, type=_Answer) for answer in answers]
        first = msgspec.json.decode(answers[0].body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineFaultError("the engine's answer could not be read", log_detail=str(error)) from error
    choices = [choice for one in read for choice in one.choices]
    numbered = [{**choice, "index": number} for number, choice in enumerate(choices)]
    usage = total_usage(one.usage for one in read)
    body = {**first, "choices": numbered, "usage": _plain(usage)}
    return Passed(
        status=200, content_type=answers[0].content_type, body=msgspec.json.encode(body), usage=usage
    )


def _plain(usage: ChatUsage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    read, written = usage.prompt_tokens, usage.completion_tokens
    told = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    details = usage.prompt_tokens_details
    return told if details is None else {**told, "prompt_tokens_details": msgspec.to_builtins(details)}
