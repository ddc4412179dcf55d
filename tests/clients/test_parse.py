"""The SDKs' helpers for structured answers: schemas reach the engine, and the types take the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dragoman.engines.scripted import answer
from tests.clients.conftest import Serve
from tests.clients.sdk import SDK, SDKError, blocks
from tests.clients.test_sdks import ask
from tests.clients.typescript import TypeScriptSDK
from tests.support.dialogues import PARROT
from tests.support.serving import running_server

pytestmark = pytest.mark.clients

# Of each shape a value that fits.
VALUES: dict[str, Any] = {
    "person": {"name": 'Æsa "😀"\n', "age": -36},
    "nested": {
        "house": {"place": {"street": "ivy", "lit": True}, "floors": 2},
        "since": "2026-11-26",
    },
    "enums": {"color": "green", "size": "large", "stars": 3, "always": "yes"},
    "arrays": {"tags": ["b", "a"], "places": [{"street": "oak", "lit": False}], "grid": [[], [True, False]]},
    "optional": {"age": None},
    "union": {"pet": {"kind": "dog", "good": True}, "either": 7},
    "shared": {
        "home": {"street": "ivy", "lit": False},
        "work": {"street": "oak", "lit": True},
        "others": [{"street": "ivy", "lit": False}],
    },
    "tree": {"lit": True, "branches": [{"lit": False, "branches": []}, {"lit": True, "branches": []}]},
}
# Of some shapes a value that does not fit, which is JSON all the same.
MISFITS: dict[str, Any] = {
    "nested": {"house": {"place": {"street": "ivy"}, "floors": 2}, "since": "2026-11-26"},
    "enums": {**VALUES["enums"], "stars": 4},
    "arrays": {**VALUES["arrays"], "grid": [True]},
    "union": {"pet": {"kind": "dog", "lives": 9}, "either": 7},
    "tree": {"lit": True, "branches": [{"lit": False}]},
}
# The parrot knows no reason to end a tree, nor, often, a text that has no bound: its answer is cut.
ENDLESS = {"tree", "person"}


def text_of(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@pytest.fixture(scope="module")
def llamacpp() -> Iterator[str]:
    """The address of a server in front of llama.cpp: its grammar alone makes the parrot's answers fit."""
    engines = pytest.importorskip("dragoman.engines.llamacpp", reason="the extra `local` is not installed")
    with running_server(engines.LlamaCppInferenceEngine(str(PARROT / "parrot.gguf"))) as url:
        yield url


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", VALUES)
def test_a_typed_value_of_each_shape(sdk: SDK, serve: Serve, shape: str, *, stream: bool) -> None:
    server = serve([answer(text_of(VALUES[shape]))])
    got = sdk.call("parse", server.url, {**ask(), "shape": shape, "stream": stream})
    assert got["parsed"] == VALUES[shape]
    wanted = server.calls[0].request.response_format
    assert wanted is not None
    # as the helper wrote it: every reference, choice and bound
    assert msgspec.json.decode(wanted.schema) == got["sent"][0]["output_config"]["format"]["schema"]


@pytest.mark.parametrize("shape", MISFITS)
def test_what_does_not_fit_is_an_error_of_the_engine(sdk: SDK, serve: Serve, shape: str) -> None:
    server = serve([answer(text_of(MISFITS[shape]))])
    with pytest.raises(SDKError) as caught:
        sdk.call("parse", server.url, {**ask(), "shape": shape})
    assert (caught.value.status, caught.value.type) == (500, "api_error")
    assert "is not of the schema in output_config.format" in caught.value.message


@pytest.mark.engine
@pytest.mark.parametrize("shape", sorted(VALUES.keys() - ENDLESS))
def test_llamacpp_answers_in_each_shape(sdk: SDK, llamacpp: str, shape: str) -> None:
    got = parsed(sdk, llamacpp, {"shape": shape})
    assert got["message"]["stop_reason"] == "end_turn"
    assert got["parsed"] == msgspec.json.decode(blocks(got["message"])[0]["text"])
    assert got["parsed"].keys() >= VALUES[shape].keys()


@pytest.mark.engine
def test_llamacpp_answers_by_the_helper_for_json_schemas(typescript: TypeScriptSDK, llamacpp: str) -> None:
    stars = {"type": "integer", "enum": [1, 2, 3]}
    pair = {"type": "object", "properties": {"stars": {"$ref": "#/$defs/stars"}, "more": {"type": "boolean"}}}
    schema = {**pair, "$defs": {"stars": stars}, "required": ["stars", "more"]}
    got = parsed(typescript, llamacpp, {"json_schema": schema})
    assert got["parsed"].keys() == {"stars", "more"}
    assert got["parsed"]["stars"] in (1, 2, 3)


def parsed(sdk: SDK, url: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the helper gives; an answer that was cut is no JSON, and is asked for again, less greedily."""
    request = {**ask("What is the weather in Paris?"), **params, "model": "parrot"}
    for temperature in (0, 0.5, 0.8, *[1] * 6):
        try:
            return sdk.call("parse", url, {**request, "temperature": temperature})
        except SDKError as error:
            if error.status is not None or "JSON" not in error.message:
                raise
    return sdk.call("parse", url, {**request, "temperature": 1})
