"""Thinking: what the request asks for, and earlier thinking on its way back to the engine."""

from __future__ import annotations

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Display, Findings, RequestOptions
from dragoman.wire.anthropic.blocks import RedactedThinkingBlock, ThinkingBlock
from dragoman.wire.anthropic.request import (
    CountTokensRequest,
    Effort,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingEnabled,
)
from dragoman.wire.openai import Reasoning

MIN_BUDGET = 1024


def reasoning_of(request: CountTokensRequest, options: RequestOptions) -> Reasoning:
    """What the engine is told about thinking; nothing where the model does not reason.

    Thinking is opt-in: a request that does not ask switches it off where the engine has a switch.
    `between_tools` is thinking switched off as well (its short progress notes are the model's own doing).
    """
    _check_budget(request, options)
    capabilities = options.capabilities
    if not capabilities.reasoning:
        return Reasoning()
    thinking = request.thinking
    asked = isinstance(thinking, ThinkingEnabled | ThinkingAdaptive)
    return Reasoning(
        enabled=asked if capabilities.reasoning_switch else None,
        budget_tokens=thinking.budget_tokens if isinstance(thinking, ThinkingEnabled) else None,
        effort=_effort(request),
    )


def display_of(request: CountTokensRequest) -> Display:
    """How the client wants thinking shown; `updates` is shown as it comes."""
    thinking = request.thinking
    if not isinstance(thinking, ThinkingEnabled | ThinkingAdaptive):
        return "off"
    return "omitted" if thinking.display == "omitted" else "summarized"


def _check_budget(request: CountTokensRequest, options: RequestOptions) -> None:
    thinking = request.thinking
    if not isinstance(thinking, ThinkingEnabled):
        return
    if thinking.budget_tokens < MIN_BUDGET:
        raise InvalidRequestError(
            f"thinking.budget_tokens: Input should be greater than or equal to {MIN_BUDGET}"
        )
    if options.interleaved_thinking or not isinstance(request, MessagesRequest):
        return
    if thinking.budget_tokens >= request.max_tokens:
        raise InvalidRequestError("thinking.budget_tokens: `max_tokens` must be greater than the budget")


def _effort(request: CountTokensRequest) -> Effort | None:
    """The effort that holds now: the latest that a system turn set, else the request's."""
    for message in reversed(request.messages):
        own = message.output_config
        if message.role == "system" and own is not None and own.effort is not None:
            return own.effort
    return None if request.output_config is None else request.output_config.effort


def earlier_thinking(
    block: ThinkingBlock | RedactedThinkingBlock, path: str, options: RequestOptions, findings: Findings
) -> str:
    """The thought to give back to the engine, "" for one that is dropped (and counted).

    Ours goes back exactly. A foreign or altered one with text follows the setting; one without text is
    dropped, since nobody here can read it.
    """
    if isinstance(block, RedactedThinkingBlock):
        opened = options.open_thinking(block.data, "")
    else:
        opened = options.open_thinking(block.signature or "", block.thinking)
    if opened.kind == "ours":
        return opened.text
    if opened.text and options.foreign_thinking == "refuse":
        raise InvalidRequestError(f"{path}.signature: Invalid `signature` in `thinking` block")
    if not opened.text or options.foreign_thinking == "drop":
        findings.dropped_thinking += 1
        return ""
    return opened.text
