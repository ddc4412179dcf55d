"""What an engine has by default: each door and control that it has not says so by a named error."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.engines.control import ControlNotSupportedError, EngineControl, Operation
from dragoman.engines.scripted import ScriptedInferenceEngine
from dragoman.errors import NotSupportedError
from dragoman.wire.openai import ChatMessage, ChatRequest
from dragoman.wire.tokens import RelayRequest, TokenRequest

CALLS = {
    "pause_generation": ("keep",),
    "resume_generation": (),
    "sleep": (1,),
    "wake_up": (),
    "reset_prefix_cache": (),
    "init_weight_update_communicator": ({},),
    "update_named_weights": ({},),
    "weight_version": (),
    "finish_session": ("a",),
    "teardown": (),
}


def bare() -> InferenceEngine:
    return ScriptedInferenceEngine([], name="bare")


def test_every_operation_is_a_method_and_a_name() -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(EngineControl, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert methods == set(get_args(Operation)) == set(CALLS)


@pytest.mark.parametrize("operation", CALLS)
async def test_a_control_that_is_missing_names_itself_and_the_engine(operation: str) -> None:
    control = EngineControl("bare")
    assert control.operations == frozenset()
    with pytest.raises(ControlNotSupportedError) as caught:
        await getattr(control, operation)(*CALLS[operation])
    assert caught.value.message == f"{operation}: the engine bare cannot do this"
    assert (caught.value.status, caught.value.engine, caught.value.operation) == (501, "bare", operation)


async def test_an_engine_has_no_controls_unless_it_says_so() -> None:
    assert bare().control.operations == frozenset()
    with pytest.raises(ControlNotSupportedError, match="the engine bare"):
        await bare().control.sleep()


async def test_doors_that_are_missing_say_so() -> None:
    chat = ChatRequest(model="m", messages=[ChatMessage(role="user", content="Hi")])
    with pytest.raises(NotSupportedError, match="bare does not render"):
        await bare().render(chat)
    with pytest.raises(NotSupportedError, match="bare takes no token ids"):
        await bare().stream_tokens(TokenRequest(model="m", prompt_token_ids=[1]))
    with pytest.raises(NotSupportedError, match="bare does not say what"):
        await bare().detokenize("m", [1])
    with pytest.raises(NotSupportedError, match="bare has no /v1/completions"):
        await bare().relay(RelayRequest(path="/v1/completions", body=b"{}", model="m"))
