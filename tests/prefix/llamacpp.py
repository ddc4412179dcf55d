"""The same templates in llama.cpp's own renderer, and with their models' tokens as it cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec

from dragoman.engines.dialects.llamacpp import LlamaCppDialect
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.settings import EngineEntry
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest
from tests.prefix.rendering import FOLDER, Template
from tests.prefix.serving import client, started
from tests.prefix.vocabularies import VOCABULARIES, vocabulary_of, write_model
from tests.support.dialogues import MODEL


class LlamaTemplate:
    """A template that llama.cpp has loaded.

    capabilities: what Dragoman finds out of it; cut: the tokens of every prompt that it has rendered.
    """

    refusal = "refused"

    def __init__(self, address: str, asking: httpx.Client) -> None:
        self._address = address
        self._client = asking
        self._dialect = LlamaCppDialect()
        self.cut: dict[str, list[int]] = {}
        self.capabilities = asyncio.run(_capabilities(address))

    def prompt(self, request: ChatRequest) -> str | None:
        """The prompt of a neutral request without a generation prompt, by way of the body of its dialect."""
        body = self._dialect.body(request, self.capabilities)
        answer = self._ask("/apply-template", {**body, "add_generation_prompt": False})
        if answer is None:
            return None
        self.cut[str(answer["prompt"])] = self.tokens(answer["prompt"])
        return str(answer["prompt"])

    def tokens(self, prompt: str) -> list[int]:
        """The whole prompt's tokens, as the engine makes them of a prompt that it has rendered."""
        if prompt in self.cut:
            return self.cut[prompt]
        answer = self._ask("/tokenize", {"content": prompt, "add_special": False, "parse_special": True})
        assert answer is not None
        return list(answer["tokens"])

    def extends(self, last: str, now: str) -> bool:
        """Whether the tokens of `last` are the first tokens of `now`."""
        before = self.tokens(last)
        return self.tokens(now)[: len(before)] == before

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
def loaded(template: Template) -> Iterator[LlamaTemplate]:
    """A running server with this template, and its tokenizer's vocabulary with all of its marks."""
    tokenizer = template.tokenizer
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model.gguf"
        meta = vocabulary_of(VOCABULARIES[tokenizer.vocabulary].file)
        write_model(meta, model, marks=tokenizer.marks, bos=tokenizer.bos, eos=tokenizer.eos)
        server = started(model, (FOLDER / f"{template.name}.jinja").read_text(encoding="utf-8"))
        with client() as asking:
            yield LlamaTemplate(server.listening_address, asking)
