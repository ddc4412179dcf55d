"""The same templates in llama.cpp's own renderer: the parrot's vocabulary with another template."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import xllamacpp  # type: ignore[import-untyped]  # the wheel holds no types

from dragoman.engines.dialects.llamacpp import LlamaCppDialect
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.settings import EngineEntry
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest
from tests.support.dialogues import CONTEXT, MODEL, PARROT

_ERRORS_ONLY = 1
_JSON = {"content-type": "application/json"}


class LlamaTemplate:
    """A template that llama.cpp has loaded. capabilities: what Dragoman finds out of it."""

    refusal = "refused"

    def __init__(self, address: str, client: httpx.Client) -> None:
        self._address = address
        self._client = client
        self._dialect = LlamaCppDialect()
        self.capabilities = asyncio.run(_capabilities(address))

    def prompt(self, request: ChatRequest) -> str | None:
        """The prompt of a neutral request without a generation prompt, by way of the body of its dialect."""
        body = self._dialect.body(request, self.capabilities)
        answer = self._ask("/apply-template", {**body, "add_generation_prompt": False})
        return None if answer is None else str(answer["prompt"])

    def tokens(self, prompt: str) -> list[int]:
        """The prompt's tokens; marks of other models' templates are plain text in the parrot's vocabulary."""
        answer = self._ask("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
        assert answer is not None
        return list(answer["tokens"])

    def _ask(self, path: str, question: dict[str, Any]) -> dict[str, Any] | None:
        reply = self._client.post(self._address + path, content=msgspec.json.encode(question))
        if reply.is_error:
            return None
        answer: dict[str, Any] = msgspec.json.decode(reply.content)
        return answer


async def _capabilities(address: str) -> EngineCapabilities:
    engine = RemoteInferenceEngine(EngineEntry(url=address, dialect="llamacpp"))
    try:
        return await engine.capabilities(MODEL)
    finally:
        await engine.aclose()


@contextmanager
def loaded(template: Path) -> Iterator[LlamaTemplate]:
    """A running server with this template."""
    params = xllamacpp.CommonParams()
    params.model.path = str(PARROT / "parrot.gguf")
    params.model_alias = {MODEL}
    params.port = 0
    params.n_ctx = CONTEXT
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja = True
    params.ui = False
    params.chat_template = template.read_text(encoding="utf-8")
    params.verbosity = _ERRORS_ONLY
    server = xllamacpp.Server(params)
    # Answered by its main loop: a server that ends before its loop began waits for it for ever.
    server.handle_metrics()
    # Loopback needs no certificates, and reading them takes most of a start's time.
    plain = httpx.HTTPTransport(verify=False)
    with httpx.Client(timeout=30, transport=plain, headers=_JSON) as client:
        yield LlamaTemplate(server.listening_address, client)
