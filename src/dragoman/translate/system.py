"""System prompts: the billing header goes, everything else stays."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dragoman.wire.anthropic.blocks import TextBlock

# A client's header differs from call to call and would cost the whole prefix cache. It ends with its last
# `key=value;` and the rest of that line, if that is empty; the last `;` may be missing where the block ends.
_BILLING_HEADER = re.compile(
    r"x-anthropic-billing-header:"
    r"(?:[ \t]*[\w.-]+=[^;\s]*(?:;|(?=\s*\Z)))+"
    r"(?:[ \t]*(?:\r?\n|\Z))?"
)


def without_billing_header(text: str) -> str:
    """The text without a billing header at its very start; what follows it stays."""
    found = _BILLING_HEADER.match(text)
    return text if found is None else text[found.end() :]


def system_text(texts: Iterable[str]) -> str:
    """One system prompt out of its blocks' texts: the header is looked for in the first, empty ones go."""
    kept = [without_billing_header(text) if n == 0 else text for n, text in enumerate(texts)]
    return "\n".join(text for text in kept if text)


def block_texts(system: str | list[TextBlock] | None) -> list[str]:
    """The texts of the request's `system`; a string equals one block."""
    if system is None:
        return []
    return [system] if isinstance(system, str) else [block.text for block in system]


def reminder(text: str) -> str:
    """A system turn's text as part of a user turn, for templates that take no system turn there."""
    return f"<system-reminder>\n{text}\n</system-reminder>"
