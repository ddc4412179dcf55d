"""What a person reads when the server is ready: the lines to copy."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from dragoman import __version__
from dragoman.wire.openai import ModelCard


def show(console: Console, address: str, models: list[ModelCard], *, has_keys: bool) -> None:
    """Prints it. Keys are never shown."""
    console.print(Text.assemble(f"Dragoman {__version__} is ready on ", (address, "bold")), soft_wrap=True)
    names = ", ".join(card.id for card in models) or "none yet: no engine answers"
    console.print(f"models: {names}", markup=False, highlight=False, soft_wrap=True)
    for title, lines in _to_copy(address, models, "YOUR-KEY" if has_keys else "any-word"):
        console.print()
        console.print(Text(f"{title}:", style="cyan"))
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _to_copy(address: str, models: list[ModelCard], key: str) -> list[tuple[str, list[str]]]:
    default = models[0] if models else ModelCard(id="claude-default")
    claude = [
        f"export ANTHROPIC_BASE_URL={address}",
        f"export ANTHROPIC_AUTH_TOKEN={key}",
        f"export ANTHROPIC_MODEL={default.id}",
    ]
    if default.context_length:
        # Claude Code takes an unknown model's context for a million tokens
        claude.append(f"export CLAUDE_CODE_MAX_CONTEXT_TOKENS={default.context_length}")
    return [
        ("Claude Code", [*claude, "claude"]),
        ("Python", [f'client = anthropic.Anthropic(base_url="{address}", api_key="{key}")']),
        ("TypeScript", [f'const client = new Anthropic({{ baseURL: "{address}", apiKey: "{key}" }});']),
    ]
