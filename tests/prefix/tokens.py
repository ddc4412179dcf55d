"""The tokens of a prompt: its control tokens, and between them what an engine makes of the text."""

from __future__ import annotations

import re
from array import array
from functools import cache, cached_property
from typing import TypeAlias

import httpx
import msgspec

from tests.prefix.serving import client, started
from tests.prefix.vocabularies import TOKENS, VOCABULARIES, controls, vocabulary_of

Tokens: TypeAlias = "array[int]"


class _Answer(msgspec.Struct):
    tokens: list[int]


class Engine:
    """A running llama.cpp that has nothing but a vocabulary; what it has said of a text is kept."""

    def __init__(self, name: str) -> None:
        file = VOCABULARIES[name].file
        if not file.exists():
            raise RuntimeError(f"no tokenizer {file}: `make install` fetches it")
        meta = vocabulary_of(file)
        self.numbers = {str(token): number for number, token in enumerate(_list(meta[TOKENS]))}
        self.controls = controls(meta)
        self._server = started(file)
        self._client: httpx.Client = client()
        self._kept: dict[str, Tokens] = {}

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text; what looks like a control token in it is text."""
        if text not in self._kept:
            question = {"content": text, "add_special": False, "parse_special": False}
            reply = self._client.post(
                f"{self._server.listening_address}/tokenize", content=msgspec.json.encode(question)
            )
            reply.raise_for_status()
            self._kept[text] = array("i", msgspec.json.decode(reply.content, type=_Answer).tokens)
        return self._kept[text]


@cache
def engine(name: str) -> Engine:
    """The one engine with this vocabulary, started when it is first asked for."""
    return Engine(name)


class Tokenizer(msgspec.Struct, frozen=True, dict=True):
    """How a model cuts its prompts. vocabulary: by its name; marks: control tokens that it lacks.

    borrowed: the model has another vocabulary, which is not at hand.
    """

    vocabulary: str
    marks: tuple[str, ...] = ()
    bos: str = ""
    eos: str = ""
    borrowed: bool = False

    def tokens(self, prompt: str) -> Tokens:
        """The prompt's tokens: a control token stands for itself, and no other token reaches over it."""
        cut = engine(self.vocabulary)
        found: Tokens = array("i")
        for number, part in enumerate(self._marks.split(prompt)):
            if number % 2:
                found.append(self.numbers[part])
            elif part:
                found.extend(cut.tokens(part))
        return found

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Every control token's number: the marks stand behind the vocabulary's own tokens."""
        cut = engine(self.vocabulary)
        named = [mark for mark in (*self.marks, self.bos, self.eos) if mark]
        added = [mark for mark in dict.fromkeys(named) if mark not in cut.numbers]
        known = {mark: cut.numbers[mark] for mark in (*cut.controls, *named) if mark in cut.numbers}
        return known | {mark: number for number, mark in enumerate(added, len(cut.numbers))}

    @cached_property
    def _marks(self) -> re.Pattern[str]:
        longest_first = sorted(self.numbers, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first))})")


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
