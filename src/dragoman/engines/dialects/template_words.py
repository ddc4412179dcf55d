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
    r"|\b(?:unknown|unexpected|invalid) (?:message )?role",
    re.IGNORECASE,
)
# A template's sentence is short; of one that quotes the request no more is shown.
_LONGEST = 200


def template_reason(words: str) -> str | None:
    """What the template said, None where the words are not about that."""
    said = _SAID.search(words)
    if said is not None:
        return said[1].strip()[:_LONGEST]
    sentence = _once(words.strip())
    if len(sentence) > _LONGEST or "\n" in sentence or not _KNOWN.search(sentence):
        return None
    return sentence


def _once(sentence: str) -> str:
    """A sentence that vLLM says twice, as its error and as the cause of that."""
    half = len(sentence) // 2
    return sentence[:half] if sentence == f"{sentence[:half]} {sentence[:half]}" else sentence
