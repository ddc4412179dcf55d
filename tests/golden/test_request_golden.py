"""Requests, one pair per feature, with the neutral chat request in full (what plain JSON does not show, too).

`request/NAME.request.json` translates to `NAME.chat.json`, with the turns of its
thread in `NAME.kept.json`, after its context edits, under `NAME.options.json`, where there are any.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.service.threads import whole_of
from dragoman.translate.request import to_chat
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.openai import ChatRequest
from tests.support.preparing import prepared
from tests.support.translation import able_but, options

FOLDER = Path(__file__).parent / "request"
NAMES = sorted(path.name.removesuffix(".request.json") for path in FOLDER.glob("*.request.json"))
BARE = ChatRequest(model="", messages=[])


def written(chat: ChatRequest) -> bytes:
    """The neutral request as JSON for people, without what it does not say."""
    said = {
        field: getattr(chat, field)
        for field in chat.__struct_fields__
        if getattr(chat, field) != getattr(BARE, field)
    }
    return msgspec.json.format(msgspec.json.encode(said), indent=2) + b"\n"


def options_of(name: str) -> dict[str, Any]:
    """The options of one case."""
    path = FOLDER / f"{name}.options.json"
    changes: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    if "capabilities" in changes:
        changes["capabilities"] = able_but(**changes["capabilities"])
    if "server_tools" in changes:
        changes["server_tools"] = frozenset(changes["server_tools"])
    return changes


@pytest.mark.parametrize("name", NAMES)
def test_the_translation_is_the_golden_one(name: str, update_golden: bool) -> None:
    # Clients send JSON without the white space that makes the file readable.
    body = msgspec.json.encode(msgspec.json.decode((FOLDER / f"{name}.request.json").read_bytes()))
    request = decode_messages(body)
    kept = FOLDER / f"{name}.kept.json"
    if kept.exists():
        turns = msgspec.json.decode(kept.read_bytes())
        request = whole_of(request, [msgspec.json.encode(turn) for turn in turns])
    made = options(**options_of(name))
    found = written(to_chat(asyncio.run(prepared(request, made.capabilities)), made).chat)
    expected = FOLDER / f"{name}.chat.json"
    if update_golden:
        expected.write_bytes(found)
    assert found == expected.read_bytes()


def test_every_golden_file_belongs_to_a_case() -> None:
    stems = {path.name.split(".")[0] for path in FOLDER.iterdir()}
    assert stems == set(NAMES)
    assert all((FOLDER / f"{name}.chat.json").exists() for name in NAMES)
