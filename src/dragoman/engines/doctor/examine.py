"""The examination: every probe in its order, none of which can end the others; what their rows come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import msgspec

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.doctor import basics, output, prompts, thinking, tools
from dragoman.engines.doctor.hints import HINTS
from dragoman.engines.doctor.report import LACKING, Difference, Finding, Gap, Outcome, Report
from dragoman.engines.doctor.said import short
from dragoman.engines.doctor.subject import Shown, Subject
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.errors import DragomanError, EngineTimeoutError, SettingsError
from dragoman.wire.capabilities import EngineCapabilities

Told = Callable[[str], None]
"""Hears what is asked now."""

# One question may be too much for a server, two in a row without an answer are a server that is gone.
_PATIENCE = 2
# Of what can be decoded, some is still too deep to be gone through.
_TOO_DEEP = "an answer that is nested too deeply to be read"


class Probe(msgspec.Struct, frozen=True):
    """One row to be. capability: what of `EngineCapabilities` it checks. essential: nothing works without."""

    name: str
    title: str
    ask: Callable[[Subject], Awaitable[Shown]]
    capability: str = ""
    essential: bool = False


PROBES = (
    Probe("models", "models", basics.models),
    Probe("context", "context length", basics.context),
    Probe("chat", "an answer", basics.chat, essential=True),
    Probe("reasoning", "thinking", thinking.reasoning, "reasoning"),
    Probe("switch", "thinking, switched", thinking.switch, "reasoning_switch"),
    Probe("streaming", "a stream", basics.streaming, essential=True),
    Probe("through", "through Dragoman", basics.through, essential=True),
    Probe("usage", "usage", basics.usage),
    Probe("stream_usage", "usage in a stream", basics.stream_usage),
    Probe("early_usage", "usage at its start", basics.early_usage, "early_usage"),
    Probe("cached", "cached tokens", prompts.cached),
    Probe("overflow", "too long a prompt", basics.overflow),
    Probe("tools", "tool calls", tools.tools, "tools"),
    Probe("forced_any", "forced: any tool", tools.forced_any, "forced_tools"),
    Probe("forced_named", "forced: a named one", tools.forced_named, "forced_tools"),
    Probe("no_calls", "tools forbidden", tools.no_calls),
    Probe("parallel", "parallel calls", tools.parallel, "parallel_tools"),
    Probe("one_call", "only one call", tools.one_call),
    Probe("tool_stream", "calls in a stream", tools.tool_stream),
    Probe("tool_results", "tool results", tools.tool_results),
    Probe("counting", "counting", prompts.counting, "counting"),
    Probe("structured", "structured output", output.structured, "structured_output"),
    Probe("stops", "stop strings", output.stops),
    Probe("stop_named", "which one matched", output.stop_named, "matched_stop"),
    Probe("prefill", "prefill", output.prefill, "continuation"),
    Probe("images", "images", prompts.images, "images"),
    Probe("logprobs", "logprobs", output.logprobs, "logprobs"),
    Probe("token_ids", "token ids", output.token_ids, "token_ids"),
    Probe("system", "a system prompt", prompts.system_prompt, "system_at_head"),
    Probe("system_turns", "system turns midway", prompts.system_turns, "system_in_place"),
    Probe("earlier", "earlier thinking", thinking.earlier),
    Probe("arguments", "earlier arguments", prompts.arguments),
)
# Rows that the others do not need: what is told, not tried.
_TOLD = frozenset(["models", "context"])


async def examine(
    engine: RemoteInferenceEngine, model: str = "", *, seconds: float = 60.0, told: Told = lambda _: None
) -> Report:
    """Tries everything on one model (empty: the first that is served); every question ends after `seconds`.

    Raises what the server's description of itself raises: that it cannot be reached, or refuses the key.
    """
    told("what it is")
    dialect = await engine.dialect()
    model = model or await _first(engine)
    capabilities = await _detected(engine, model)
    subject = Subject(engine, dialect, model, capabilities or EngineCapabilities(), seconds)
    for probe in PROBES:
        told(probe.title)
        subject.shown[probe.name] = await _tried(probe, subject)
    return _report(subject, capabilities)


async def _first(engine: RemoteInferenceEngine) -> str:
    try:
        cards = await engine.models()
    except EngineUnreachableError:
        raise
    except DragomanError as error:
        raise SettingsError(f"the server lists no models; --model names one ({error.message})") from error
    if not cards:
        raise SettingsError("the server's list of models is empty; --model names one")
    return cards[0].id


async def _detected(engine: RemoteInferenceEngine, model: str) -> EngineCapabilities | None:
    """What detection says of the model, None where it fails: the probes tell more of why."""
    try:
        return await engine.capabilities(model)
    except EngineUnreachableError:
        raise
    except DragomanError:
        return None


async def _tried(probe: Probe, subject: Subject) -> Shown:
    """What a probe saw, whatever happens to it."""
    if probe.name not in _TOLD:
        if probe.name != "chat" and not subject.saw("chat", "yes", "partly"):
            return Shown("not asked", "it gives no answers")
        silent = list(subject.shown.values())[-_PATIENCE:]
        if len(silent) == _PATIENCE and all(shown.silent for shown in silent):
            return Shown("not asked", "the server had stopped answering", silent=True)
    try:
        return await probe.ask(subject)
    except (EngineTimeoutError, EngineUnreachableError) as error:
        return Shown("failed", error.message, silent=True)
    except DragomanError as error:
        return Shown("failed", short(error.log_detail or error.message))
    except RecursionError:
        return Shown("failed", _TOO_DEEP)


# ---- what the rows come to ---------------------------------------------------------------------------------


def _report(subject: Subject, capabilities: EngineCapabilities | None) -> Report:
    findings = tuple(
        Finding(
            name=probe.name,
            title=probe.title,
            outcome=shown.outcome,
            result=shown.result or shown.outcome,
            evidence=shown.evidence,
        )
        for probe in PROBES
        for shown in [subject.shown[probe.name]]
    )
    essential = {probe.name for probe in PROBES if probe.essential}
    return Report(
        engine=subject.engine.name,
        dialect=subject.dialect.name,
        model=subject.model,
        works=all(row.outcome in {"yes", "partly"} for row in findings if row.name in essential),
        findings=findings,
        gaps=tuple(_gaps(findings, subject.dialect.name)),
        differences=tuple(_differences(findings, capabilities)),
    )


def _gaps(findings: tuple[Finding, ...], dialect: str) -> Iterator[Gap]:
    for row in findings:
        hint = HINTS.get(row.name)
        if hint is None:
            continue
        if row.outcome in LACKING or row.outcome == "partly":
            remedy, meaning = hint.remedy(dialect), hint.meaning
        elif row.outcome == "not shown" and hint.not_shown:
            remedy, meaning = "", hint.not_shown
        else:
            continue
        yield Gap(name=row.name, title=row.title, outcome=row.outcome, meaning=meaning, remedy=remedy)


_SEEN: dict[Outcome, bool] = {"yes": True, "no": False, "ignored": False}


def _differences(
    findings: tuple[Finding, ...], capabilities: EngineCapabilities | None
) -> Iterator[Difference]:
    """Where trying shows otherwise than detection; what neither shows nor fails plainly is not compared."""
    if capabilities is None:
        return
    rows = {row.name: row.outcome for row in findings}
    by_capability: dict[str, list[bool]] = {}
    for probe in PROBES:
        if probe.capability and rows[probe.name] in _SEEN:
            by_capability.setdefault(probe.capability, []).append(_SEEN[rows[probe.name]])
    for name, seen in by_capability.items():
        detected, shown = bool(getattr(capabilities, name)), all(seen)
        if detected != shown:
            yield Difference(capability=name, detected=detected, shown=shown, meaning=_DIFFERS[detected])


_DIFFERS = {
    True: "Dragoman sends it, and the engine's answer to that is what the client gets",
    False: "Dragoman does not use it",
}
