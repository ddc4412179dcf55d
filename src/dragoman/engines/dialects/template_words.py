"""Why a chat template refused a conversation, read out of an engine's words."""

from __future__ import annotations

import re

# llama.cpp names where in the template it happened, and then what the template said.
_SAID = re.compile(r"Jinja Exception: *([^\n]+)")
# vLLM and SGLang pass on the template's sentence alone, so that only what templates are known to say tells it
# from the server's own words.
_KNOWN = re.compile(
    r"roles must alternate|roles are supported|single tool-calls at once|'\w+' is undefined"
    r"|\b(?:system|tool) (?:role|message|prompt)s? (?:is |are )?not supported"
    r"|\b(?:unknown|unexpected|invalid|unsupported) (?:message )?role|^invalid system message"
    r"|system message (?:must be at the beginning|cannot contain)|no user query found|tool call ids should be"
    r"|has tool role, but there was no previous|tool message outside of|first user message when there's no"
    r"|no messages provided|expected non-empty messages"
    r"|unrecognized content type|unexpected (?:item|content) type",
    re.IGNORECASE,
)
# What a server says of a body that is not of its form, by its own library.
_OF_A_FORM = re.compile(r"validation error|['\"]loc['\"]", re.IGNORECASE)
# A template's sentence is short; of one that quotes the request no more is shown.
_LONGEST = 200


def template_reason(words: str) -> str | None:
    """What the template said, None where the words are not about that."""
    said = _SAID.search(words)
    if said is not None:
        return said[1].strip()[:_LONGEST]
    sentence = _once(words.strip())
    if len(sentence) > _LONGEST or "\n" in sentence or _OF_A_FORM.search(sentence):
        return None
    if not _KNOWN.search(sentence):
        return None
    return sentence


def names_template(words: str) -> bool:
    """Whether an engine says itself that the template refused: some builds of llama.cpp do so with a 500."""
    return _SAID.search(words) is not None


def _once(sentence: str) -> str:
    """A sentence that vLLM says twice, as its error and as the cause of that."""
    half = len(sentence) // 2
    return sentence[:half] if sentence == f"{sentence[:half]} {sentence[:half]}" else sentence
