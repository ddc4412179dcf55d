"""A call that was cut anywhere: both SDKs read from the stream what the whole answer holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.python_sdk import PythonSDK
from tests.clients.sdk import SDK
from tests.clients.typescript import TypeScriptSDK
from tests.support.answers import called, completion, counted, finished, piece, streamed, whole

pytestmark = pytest.mark.clients

ARGUMENTS = (
    ' {"path": "/a\\n\\u00e9\\ud83d\\ude00", "timeout": 120, "rate": -1.5e+3, "zero": 0, "ok": true, '
    '"none": null, "list": [1, 23, [false, "x"], {"deep": {}}, []], "é": {"a": "b", "n": -0.25}}'
)


def cut_inputs(sdk: SDK) -> list[Any]:
    """What the SDK reads of the call, cut after each of its characters."""
    chunks = [[called(piece(text, "f", "c")), finished("length")] for text in prefixes()]
    return [found["ok"]["content"][0]["input"] for found in sdk.read_streams([streamed(c) for c in chunks])]


def prefixes() -> list[str]:
    """All beginnings of the arguments, the complete ones too."""
    return [ARGUMENTS[:end] for end in range(len(ARGUMENTS) + 1)]


def whole_inputs() -> list[Any]:
    """What the whole answer holds of the same calls."""
    answers = [
        completion(tool_calls=[piece(text, "f", "c")], reason="length", usage=counted().usage)
        for text in prefixes()
    ]
    return [whole(answer)["content"][0]["input"] for answer in answers]


def test_the_python_sdk_reads_a_cut_call_as_the_whole_answer_has_it() -> None:
    assert cut_inputs(PythonSDK()) == whole_inputs()


def test_the_typescript_sdk_reads_a_cut_call_as_the_whole_answer_has_it() -> None:
    with TypeScriptSDK() as sdk:
        assert cut_inputs(sdk) == whole_inputs()
