"""What a person reads when the server is ready: the lines to copy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from dragoman import __version__
from dragoman.wire.openai import ModelCard

# Claude Code keeps room for 32,000 tokens of answer and some more. In a context of this size or less nothing
# would be left for the conversation: it would compact without end.
_ROOMY = 65536
# What stands behind the command where the engine is the embedded one.
_SHORT_PROMPT = (
    "claude --bare   # its prompt has 1,000 tokens; without --bare 12,000, minutes to read on a CPU"
)


def show(
    console: Console,
    address: str,
    models: list[ModelCard],
    troubles: Sequence[str] = (),
    *,
    has_keys: bool,
    embedded: bool = False,
    hint: str = "",
) -> None:
    """Prints it, with what keeps engines from being used, and a hint where there is one; never a key."""
    state, rest = ("ready", "") if models else ("up", ", but no engine answers yet")
    head = Text.assemble(f"Dragoman {__version__} is {state} on ", (address, "bold"), rest)
    console.print(head, soft_wrap=True)
    names = ", ".join(card.id for card in models) or "none yet"
    console.print(f"models: {names}", markup=False, highlight=False, soft_wrap=True)
    for trouble in troubles:
        console.print(Text(trouble, style="yellow"), soft_wrap=True)
    if hint:
        console.print(hint, markup=False, highlight=False, soft_wrap=True)
    default = models[0] if models else None
    key = "YOUR-KEY" if has_keys else "any-word"
    exports = [f"export {name}={value}" for name, value in claude_code(address, default, key).items()]
    for title, lines in (
        ("Claude Code", [*exports, _SHORT_PROMPT if embedded else "claude"]),
        ("Python", [f'client = anthropic.Anthropic(base_url="{address}", api_key="{key}")']),
        ("TypeScript", [f'const client = new Anthropic({{ baseURL: "{address}", apiKey: "{key}" }});']),
    ):
        console.print()
        console.print(Text(f"{title}:", style="cyan"))
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def claude_code(address: str, model: ModelCard | None, key: str) -> dict[str, str]:
    """The environment in which Claude Code uses a model here; without one it takes its own names."""
    exports = {"ANTHROPIC_BASE_URL": address, "ANTHROPIC_AUTH_TOKEN": key}
    if model is None:
        return exports
    exports["ANTHROPIC_MODEL"] = model.id
    context = model.context_length
    if context:
        # it takes an unknown model's context for a million tokens
        exports["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(context)
        if context < _ROOMY:
            exports["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] = str(context // 8)
    return exports
