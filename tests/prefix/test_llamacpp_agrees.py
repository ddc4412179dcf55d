"""llama.cpp has a renderer of its own: the same prompts grow there and the same ones break."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from tests.prefix import table
from tests.prefix.comparing import extends
from tests.prefix.llamacpp import LlamaTemplate, loaded
from tests.prefix.recording import MAIN, Habits
from tests.prefix.rendering import FOLDER
from tests.prefix.scenarios import SCENARIOS

TEMPLATES = [
    "GLM-4.6",
    "Mistral-Small-3.2-24B-Instruct-2506",
    "Qwen-Qwen2.5-7B-Instruct",
    "Qwen-Qwen3-0.6B",
    "Qwen3-Coder",
    "Qwen3.5-4B",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "deepseek-ai-DeepSeek-V3.2",
    "google-gemma-2-2b-it",
    "google-gemma-4-31B-it",
    "llama-cpp-deepseek-r1",
    "meetkai-functionary-medium-v3.2",
    "meta-llama-Llama-3.1-8B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "openai-gpt-oss-120b",
    "unsloth-mistral-Devstral-Small-2507",
]
# The parrot's vocabulary has their marks: with it, tokens can be compared as the engine cuts them.
CHATML = ["Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "Qwen3-Coder", "Qwen3.5-4B"]


@pytest.mark.clients
@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("name", ["thinking", "sub-agent"])
def test_the_same_prompts_grow_in_llamacpp(name: str, tmp_path: Path) -> None:
    recorded = SCENARIOS[name].run(tmp_path)
    found: dict[str, table.Row] = {}
    for template in TEMPLATES:
        with loaded(FOLDER / f"{template}.jinja") as renderer:
            found[template] = table.measured(renderer, name, recorded.of(_habits(renderer)))
    assert found == {template: _in_any_words(table.listed()[template].of(name)) for template in TEMPLATES}


@pytest.mark.clients
@pytest.mark.engine
@pytest.mark.slow
def test_the_engines_own_tokens_agree_with_the_pieces(tmp_path: Path) -> None:
    recorded = SCENARIOS["thinking"].run(tmp_path)
    grown, pieces = {}, {}
    for template in CHATML:
        with loaded(FOLDER / f"{template}.jinja") as renderer:
            prompts = [str(renderer.prompt(turn)) for turn in recorded.of(_habits(renderer))[MAIN]]
            tokens = [renderer.tokens(prompt) for prompt in prompts]
            grown[template] = [now[: len(last)] == last for last, now in pairwise(tokens)]
            pieces[template] = [extends(last, now) for last, now in pairwise(prompts)]
    assert grown == pieces
    assert False in grown["Qwen-Qwen3-0.6B"]


def _habits(renderer: LlamaTemplate) -> Habits:
    return msgspec.structs.replace(Habits.of(renderer.capabilities), images=False)


def _in_any_words(row: table.Row) -> table.Row:
    """The row without the template's own words, which this engine does not pass on."""
    places = [place for found in row.refused.values() for place in found]
    return table.Row(breaks=row.breaks, refused={LlamaTemplate.refusal: places} if places else {})
