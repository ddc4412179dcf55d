"""Probes of the plain things: whether it answers, streams, tells its usage, refuses too long a prompt."""

from __future__ import annotations

from typing import Any

from dragoman.engines.dialects.errors import ContextOverflowError
from dragoman.engines.doctor.questions import COUNT, user
from dragoman.engines.doctor.said import Said, mapping, sequence, short, string
from dragoman.engines.doctor.subject import THINKING_ROOM, Shown, Subject

# Where each kind of server tells the context's length.
_TOLD = {
    "llamacpp": "as /props tells",
    "vllm": "as /v1/models tells",
    "sglang": "as /v1/models tells",
    "ollama": "the model's own, as /api/show tells; num_ctx may be less",
    "generic": "as /v1/models tells",
}
# Claude Code's own prompt, and as much again for a conversation.
_ROOMY = 24_576
# A prompt beyond this is a megabyte and more: the question would cost more than it is worth.
_LARGEST_CONTEXT = 262_144


def refused(said: Said) -> Shown:
    """What an error shows: that the engine does not do it, or that the question failed."""
    return Shown("no" if said.refuses else "failed", said.words)


def quoted(text: str, most: int = 40) -> str:
    """A text as evidence."""
    return f'"{short(text, most)}"'


async def chat(subject: Subject) -> Shown:
    """A plain question, as any client of Chat Completions asks it."""
    subject.thinks = True  # room for it, until more is known
    request = subject.request(user(COUNT))
    said = await subject.plain(request)
    subject.thinks = False
    if said.error is not None or not said.choice:
        return refused(said)
    subject.counted = said
    if said.text:
        return Shown("yes", f"answers {quoted(said.text)}")
    if said.reasoning:
        return Shown("partly", f"thought past {THINKING_ROOM} tokens and gave no answer", "only thinks")
    return Shown("failed", "status 200 and an empty answer")


async def streaming(subject: Subject) -> Shown:
    """The same question, streamed."""
    said = await subject.plain_stream(subject.request(user(COUNT)))
    if said.error is not None:
        return refused(said)
    if said.content_type != "text/event-stream":
        return Shown("ignored", f"the whole answer at once, as {said.content_type}")
    subject.stream = said
    pieces = [piece for piece in map(_delta, said.chunks) if _says(piece)]
    if not pieces:
        return Shown("failed", "a stream without any text")
    end = "[DONE]" if said.has_done else "no [DONE]"
    if not said.finish:
        return Shown("partly", f"{len(pieces)} pieces, and no finish_reason", "without end")
    if len(pieces) == 1:
        return Shown("partly", "all of the answer in one piece", "in one piece")
    return Shown("yes", f"{len(pieces)} pieces, finish_reason {said.finish}, {end}")


def _delta(chunk: dict[str, Any]) -> dict[str, Any]:
    choices = sequence(chunk.get("choices"))
    return mapping(mapping(choices[0]).get("delta")) if choices else {}


def _says(delta: dict[str, Any]) -> bool:
    return any(string(delta.get(name)) for name in ("content", "reasoning", "reasoning_content"))


async def through(subject: Subject) -> Shown:
    """The same question by Dragoman's own way: its dialect's spelling, its reading."""
    completion = await subject.through(subject.request(user(COUNT)))
    said = completion.choices[0].message
    if not (said.content or said.reasoning):
        return Shown("failed", f"as {subject.dialect.name}: an empty answer")
    return Shown("yes", f"as {subject.dialect.name}: {quoted(said.content or said.reasoning or '')}")


async def usage(subject: Subject) -> Shown:
    """Whether a whole answer tells what it cost."""
    counted = subject.counted
    if counted is None or counted.prompt_tokens is None:
        return Shown("no", "no prompt_tokens in a whole answer")
    sampled = counted.usage.get("completion_tokens")
    return Shown("yes", f"{counted.prompt_tokens} read, {sampled} written")


async def stream_usage(subject: Subject) -> Shown:
    """Whether a stream does."""
    if subject.stream is None:
        return Shown("not asked", "it does not stream")
    if subject.stream.prompt_tokens is None:
        return Shown("no", "none, though stream_options.include_usage asked for it")
    return Shown("yes", "with stream_options.include_usage")


async def early_usage(subject: Subject) -> Shown:
    """Whether the prompt's length is known before the answer's first word."""
    if subject.stream is None:
        return Shown("not asked", "it does not stream")
    said = await subject.own_stream(subject.request(user(COUNT)))
    if said.error is not None:
        return refused(said)
    for chunk in said.chunks:
        told = mapping(chunk.get("usage")) or mapping(chunk.get("prompt_progress"))
        if told.get("prompt_tokens") or told.get("total"):
            return Shown("yes", "the prompt's count comes before the answer")
        if _says(_delta(chunk)):
            break
    return Shown("no", "counts come at the end only; an estimate opens the stream")


async def models(subject: Subject) -> Shown:
    """What is served."""
    names = [card.id for card in await subject.engine.models()]
    if subject.model not in names:
        return Shown("partly", f"/v1/models lists {quoted(', '.join(names))}, not this model", "others")
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Shown("yes", f"/v1/models lists {short(subject.model, 50)}{more}", str(len(names)))


async def context(subject: Subject) -> Shown:
    """How much fits in."""
    length = subject.capabilities.context_length
    if length is None:
        return Shown("no", "the server does not tell", "not told")
    told = _TOLD.get(subject.dialect.name, "as the server tells")
    if length < _ROOMY:
        return Shown("partly", f"{told}; little for an agent", f"{length:,} tokens")
    return Shown("yes", told, f"{length:,} tokens")


async def overflow(subject: Subject) -> Shown:
    """What a prompt that does not fit in is answered with."""
    length = subject.capabilities.context_length
    if length is None or length > _LARGEST_CONTEXT:
        why = "the context's length is not known" if length is None else "the context is too long to fill"
        return Shown("not asked", why)
    said = await subject.plain(subject.request(user(" the weather" * (length // 2 + 64)), answer=1))
    if isinstance(said.error, ContextOverflowError):
        return Shown("yes", said.words, "refused")
    if said.error is None:
        read = said.prompt_tokens
        return Shown("ignored", f"answered as if it fitted, {read} tokens billed", "cut in silence")
    if said.refuses:
        return Shown("partly", said.words, "refused, unread")
    return Shown("failed", said.words)
