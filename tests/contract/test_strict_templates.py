"""A chat template that refuses system turns and several calls in a turn, on a real llama.cpp, embedded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest

from dragoman.engines.llamacpp import LlamaCppInferenceEngine
from dragoman.settings import LocalEngine
from tests.server.http import asked, refused
from tests.support import answers
from tests.support.dialogues import CONTEXT
from tests.support.serving import running_server
from tests.support.templated import parrot_with

pytestmark = pytest.mark.engine

# Users and answers by turns, but for calls and their results; no system turn, one call in a turn.
TEMPLATE = """
{%- set ns = namespace(users=false) -%}
{%- if tools -%}{%- for tool in tools -%}{{- tool | tojson -}}{%- endfor -%}{%- endif -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}
{%- if m.tool_calls and m.tool_calls | length > 1 -%}
{{- raise_exception('This model only supports single tool-calls at once!') -}}
{%- endif -%}
{%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) -%}
{%- if (m.role == 'user') == ns.users -%}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
{%- endif -%}
{%- set ns.users = m.role == 'user' -%}
{%- endif -%}
{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') -}}
{%- for call in m.tool_calls or [] -%}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' -}}
{{- call.function.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
MODEL = "strict"
READ = {"name": "read", "description": "Reads a file.", "input_schema": {"type": "object"}}
CALLS = [{"type": "tool_use", "id": f"toolu_{name}", "name": "read", "input": {}} for name in "ab"]
RESULTS = [{"type": "tool_result", "tool_use_id": f"toolu_{name}", "content": "It is."} for name in "ab"]
TURNS = [
    {"role": "user", "content": "Say hello."},
    {"role": "system", "content": "The user is in a hurry."},
    {"role": "assistant", "content": CALLS},
    {"role": "user", "content": RESULTS},
    {"role": "assistant", "content": "Both are."},
    {"role": "system", "content": "It is late."},
    {"role": "user", "content": "Say hello."},
]
# Requests of one conversation, and what they are about.
ENDS = (1, 2, 4, 7)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server over the embedded engine."""
    file = parrot_with(TEMPLATE, tmp_path_factory.mktemp("strict") / f"{MODEL}.gguf")
    engine = LlamaCppInferenceEngine(str(file), local=LocalEngine(context=CONTEXT, threads=1, parallel=1))
    with running_server(engine) as address:
        yield address


def counted(url: str, **request: Any) -> int:
    """What the server counts of a request."""
    response = httpx.post(f"{url}/v1/messages/count_tokens", json={"model": MODEL, **request}, timeout=30)
    assert response.status_code == 200, response.text
    tokens: int = response.json()["input_tokens"]
    return tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_every_turn_is_answered_and_counted(url: str, end: int, stream: bool) -> None:
    request = {"messages": TURNS[:end], "tools": [READ], "system": "Be brief."}
    response = asked(url, **request, model=MODEL, max_tokens=10, stream=stream)
    assert response.status_code == 200, response.text
    message = answers.read(response.content) if stream else response.json()
    usage = message["usage"]
    assert counted(url, **request) == usage["input_tokens"] + (usage["cache_read_input_tokens"] or 0)


def test_the_system_prompt_reaches_the_model(url: str) -> None:
    without = counted(url, messages=TURNS[:1])
    lengths = [counted(url, messages=TURNS[:1], system=text) for text in ("brief", "brief brief brief")]
    assert without < lengths[0] < lengths[1]


def test_the_prompt_grows_and_its_beginning_comes_from_the_cache(url: str) -> None:
    reused = []
    for end in ENDS:
        request = {"messages": TURNS[:end], "tools": [READ], "system": "Be brief."}
        usage = asked(url, **request, model=MODEL, max_tokens=1).json()["usage"]
        reused.append((usage["cache_read_input_tokens"] or 0, counted(url, **request)))
    shared = [now[0] - before[1] for before, now in pairwise(reused[1:])]
    # all of the prompt before, but for its generation prompt
    assert [missing >= -4 for missing in shared] == [True, True]


def test_what_cannot_be_put_otherwise_is_refused_in_the_templates_words(url: str) -> None:
    first = [{"role": "assistant", "content": "Hello."}, *TURNS[:1]]
    error = refused(url, messages=first, model=MODEL)
    assert error["message"] == (
        "messages: the model's chat template refuses this conversation: "
        "Conversation roles must alternate user/assistant/user/assistant/..."
    )
