"""llama.cpp has a renderer of its own: the same prompts grow and break there, token by token."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.wire.capabilities import EngineCapabilities
from tests.prefix import table
from tests.prefix.comparing import Renderer
from tests.prefix.llamacpp import LlamaTemplate, loaded
from tests.prefix.recording import Habits, Recorded
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


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """Every scenario's requests, run once."""
    return {name: scenario.run(tmp_path_factory.mktemp("run")) for name, scenario in SCENARIOS.items()}


@pytest.mark.clients
@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_same_prompts_grow_in_llamacpp(name: str, recorded: dict[str, Recorded]) -> None:
    template = next(each for each in table.all_templates() if each.name == name)
    with loaded(template) as renderer:
        found = _measured(renderer, renderer.capabilities, recorded)
    assert found == {
        scenario: _as_llamacpp(row, renderer)
        for scenario, row in _measured(template, template.capabilities, recorded).items()
    }
    # All the prompts at once here, and there cut at the marks: the numbers are the same.
    assert len(renderer.cut) > 0
    assert renderer.cut == {prompt: list(template.tokenizer.tokens(prompt)) for prompt in renderer.cut}


def _measured(
    renderer: Renderer, capabilities: EngineCapabilities, recorded: dict[str, Recorded]
) -> dict[str, table.Row]:
    """What every scenario does, as a renderer with these abilities gets it: no model here sees."""
    habits = msgspec.structs.replace(Habits.of(capabilities), images=False)
    return {name: table.measured(renderer, name, runs.of(habits)) for name, runs in recorded.items()}


def _as_llamacpp(row: table.Row, renderer: LlamaTemplate) -> table.Row:
    """The row without the template's own words, which this engine does not pass on, and what it spares.

    It may let a model call a tool that the prompt does not list: then a loaded one need not join the list.
    """
    places = [place for found in row.refused.values() for place in found]
    spared = {"loaded"} if renderer.capabilities.unlisted_tools else set()
    breaks = {cause: found for cause, found in row.breaks.items() if cause not in spared}
    return table.Row(breaks=breaks, refused={LlamaTemplate.refusal: places} if places else {})
