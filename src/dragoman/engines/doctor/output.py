"""Probes of the answer: schemas, stop strings, continuation, log-probabilities, token ids."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.doctor.basics import quoted, refused
from dragoman.engines.doctor.questions import COUNT, HELLO, WORD, WORD_FORMAT, assistant, user
from dragoman.engines.doctor.said import Said, mapping, sequence
from dragoman.engines.doctor.subject import Shown, Subject
from dragoman.errors import DragomanError
from dragoman.wire.openai import ChatRequest

# What asks each kind of server for token ids.
_IDS: dict[str, dict[str, Any]] = {
    "llamacpp": {"return_tokens": True, "verbose": True},
}
_IDS_ELSEWHERE = {"return_token_ids": True}


async def structured(subject: Subject) -> Shown:
    """An answer by a schema that nobody would give unasked."""
    request = subject.request(user(HELLO), response_format=WORD_FORMAT)
    said = await subject.plain(request)
    if said.error is not None:
        return refused(said)
    if _is_word(said.text):
        return Shown("yes", f"says {quoted(said.text)}")
    if await _is_word_through(subject, request):
        return Shown("yes", f"alone {quoted(said.text, 20)}, through Dragoman right", "yes, by Dragoman")
    if said.text.lstrip().startswith("{") and said.finish == "length":
        return Shown("partly", f"begins {quoted(said.text, 20)} and finds no end", "endless")
    return Shown("ignored", f"says {quoted(said.text)}")


def _is_word(text: str) -> bool:
    try:
        return bool(msgspec.json.decode(text) == WORD)
    except (msgspec.DecodeError, RecursionError):
        return False


async def _is_word_through(subject: Subject, request: ChatRequest) -> bool:
    try:
        completion = await subject.through(request)
    except DragomanError:
        return False
    return _is_word(completion.choices[0].message.content or "")


async def _counting(subject: Subject) -> Said:
    """The answer to the counting question without thinking; asked again only where the first one thought."""
    if subject.counted is None or subject.counted.reasoning:
        subject.counted = await subject.plain(subject.request(user(COUNT)))
    return subject.counted


def _middle(text: str) -> str:
    """A word in the middle of a text that stands nowhere before; empty where there is none."""
    words = text.split()
    for word in words[len(words) // 2 :]:
        if text.find(word) == text.find(f" {word}") + 1 > 1:
            return word
    return ""


async def stops(subject: Subject) -> Shown:
    """The counting question with a stop string out of the middle of its answer."""
    text = (await _counting(subject)).text
    stop = _middle(text)
    if not stop:
        return Shown("not shown", f"no stop string fits into {quoted(text)}")
    said = await subject.plain(subject.request(user(COUNT), stop=[stop]))
    if said.error is not None:
        return refused(said)
    if said.text and stop not in said.text and len(said.text) < len(text):
        return Shown("yes", f"stop {quoted(stop)}: ends with {quoted(said.text[-12:])}")
    return Shown("ignored", f"stop {quoted(stop)}: the answer holds it")


async def stop_named(subject: Subject) -> Shown:
    """Whether the engine says which of two stop strings ended the answer."""
    if not subject.saw("stops"):
        return Shown("not asked", "stop strings were not shown")
    stop = _middle((await _counting(subject)).text)
    said = await subject.own(subject.request(user(COUNT), stop=["a stop that never comes", stop]))
    if said.error is not None:
        return refused(said)
    places = {
        "stop_reason": said.choice.get("stop_reason"),
        "matched_stop": said.choice.get("matched_stop"),
        "__verbose.stopping_word": mapping(said.value.get("__verbose")).get("stopping_word"),
    }
    named = [name for name, value in places.items() if value == stop]
    if named:
        return Shown("yes", f"in `{named[0]}`")
    return Shown("no", f"only finish_reason {said.finish}; Dragoman matches them itself", "no")


async def prefill(subject: Subject) -> Shown:
    """Whether the engine goes on with an assistant turn that was begun for it."""
    text = (await _counting(subject)).text
    begun = text[: text.find(_middle(text))].rstrip() if _middle(text) else ""
    if not begun:
        return Shown("not shown", f"nothing to go on with in {quoted(text)}")
    said = await subject.own_stream(subject.request(user(COUNT), assistant(begun), continue_final=True))
    if said.error is not None:
        return refused(said)
    goes_on = said.text.strip()
    if goes_on and text[len(begun) :].strip().startswith(goes_on[:12]):
        return Shown("yes", f"{quoted(begun[-12:])} goes on {quoted(goes_on, 20)}")
    if not goes_on:
        return Shown("not shown", "an empty answer")
    if goes_on.startswith(begun[:12]):
        return Shown("ignored", f"begins anew: {quoted(goes_on, 20)}")
    return Shown("not shown", f"{quoted(begun[-12:])} is followed by {quoted(goes_on, 20)}")


async def logprobs(subject: Subject) -> Shown:
    """Log-probabilities of the sampled tokens."""
    said = await subject.plain(subject.request(user(HELLO), answer=8), logprobs=True, top_logprobs=2)
    if said.error is not None:
        return refused(said)
    told = sequence(mapping(said.choice.get("logprobs")).get("content"))
    values = [mapping(token).get("logprob") for token in told]
    if not values or not all(isinstance(value, int | float) for value in values):
        return Shown("ignored", "no logprobs in the answer")
    return Shown("yes", f"for {len(values)} tokens")


async def token_ids(subject: Subject) -> Shown:
    """Ids of the sampled tokens and of the prompt's."""
    asked = _IDS.get(subject.dialect.name, _IDS_ELSEWHERE)
    said = await subject.plain(subject.request(user(HELLO), answer=8), logprobs=True, **asked)
    if said.error is not None:
        return refused(said)
    sampled = (
        sequence(said.choice.get("token_ids"))
        or sequence(said.choice.get("response_token_ids"))
        or sequence(mapping(said.value.get("__verbose")).get("tokens"))
    )
    prompt = sequence(said.value.get("prompt_token_ids")) or sequence(said.choice.get("prompt_token_ids"))
    by = f"with {next(iter(asked))}"
    if sampled and prompt:
        return Shown("yes", f"{len(prompt)} of the prompt, {len(sampled)} sampled, {by}")
    if sampled:
        return Shown("partly", f"{len(sampled)} sampled, none of the prompt, {by}", "sampled only")
    tokens = [mapping(token) for token in sequence(mapping(said.choice.get("logprobs")).get("content"))]
    named = [token for token in tokens if isinstance(token.get("id"), int)]
    if named:
        return Shown("partly", f"{len(named)} sampled, in the logprobs", "sampled only")
    return Shown("no", f"none, {by}")
