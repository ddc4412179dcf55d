"""The questions of the evaluation: Dragoman with the embedded engine, asked through the official SDK."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic

from bench.tools.cases import Said

DRAGOMAN = str(Path(sys.executable).with_name("dragoman"))
MAX_TOKENS = 160
SECONDS = 300.0
_READY = re.compile(r"ready on (http://\S+)")


@contextmanager
def served(model: str, environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a server with the embedded engine; it fetches the model where that is not here yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    command = [DRAGOMAN, "serve", "--port", "0", *(["--model", model] if model else [])]
    quiet = {"DRAGOMAN_LOG_LEVEL": "warning", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env={**kept, **quiet, **environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()
            # who prints into a full pipe would not end
            process.communicate(timeout=30)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := _READY.search(line):
            return found[1]
    raise RuntimeError(f"the server ended with {process.wait()}")


class Client:
    """Asks at temperature 0, each request whole and as a stream, and holds the two against each other.

    `miscounts` names what was billed otherwise than it was counted. `unlike` names pairs of answers that
    differ: each is sampled anew, and what is in the cache can move a close choice of the model.
    """

    def __init__(self, url: str) -> None:
        self._sdk = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=SECONDS)
        self.model = next(iter(self._sdk.models.list())).id
        self.miscounts: list[str] = []
        self.unlike: list[str] = []

    def ask(self, name: str, messages: list[Any], **more: Any) -> Said:
        """The answer to some messages."""
        request: dict[str, Any] = {"model": self.model, "messages": messages, **more}
        sampled: dict[str, Any] = {"max_tokens": MAX_TOKENS, "extra_body": {"temperature": 0.0}}
        counted = self._sdk.messages.count_tokens(**request).input_tokens
        whole = self._sdk.messages.create(**request, **sampled)
        with self._sdk.messages.stream(**request, **sampled) as stream:
            streamed = stream.get_final_message()
        for kind, message in (("whole", whole), ("streamed", streamed)):
            billed = message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
            if billed != counted:
                self.miscounts.append(f"{name}: {counted} tokens counted, {billed} billed ({kind})")
        said = _said(whole)
        if said != _said(streamed):
            self.unlike.append(f"{name}: the stream says {_said(streamed)}, the whole answer {said}")
        return said


def _said(message: Any) -> Said:
    return Said(
        text="".join(block.text for block in message.content if block.type == "text"),
        calls=tuple((block.name, block.input) for block in message.content if block.type == "tool_use"),
        stop_reason=message.stop_reason,
    )
