"""Engines' errors in their own words, recorded: what each becomes."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.engines.dialects.errors import (
    ContextOverflowError,
    EffortRefusedError,
    error_in_body,
    error_of_reply,
)
from dragoman.engines.dialects.overflow import Overflow, find_overflow
from dragoman.errors import EngineConfigurationError, EngineFaultError, InvalidRequestError, RateLimitError

OVERFLOWS = [
    (
        "max_completion_tokens is too large: 20480.This model supports at most 2048 completion tokens.",
        Overflow(None, 2048),
    ),
    (
        "max_tokens=20480 cannot be greater than max_model_len=2048. Please request fewer output tokens.",
        Overflow(None, 2048),
    ),
    (
        (
            "This model's maximum context length is 2048 tokens. However, your prompt contains 180050 "
            "characters (more than 32768 characters, which is the upper bound for 2048 input tokens)."
        ),
        Overflow(None, 2048),
    ),
    (
        (
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least "
            "2049 input tokens, which exceeds this limit even without any output tokens."
        ),
        Overflow(2049, 2048),
    ),
    (
        (
            "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens "
            "(112946 in the messages, 10000 in the completion). Please reduce the length of the "
            "messages or completion."
        ),
        Overflow(112946, 16384),
    ),
    (
        (
            "This model's maximum context length is 8192 tokens. However, your request has 9000 input "
            "tokens. Please reduce the length of the input messages."
        ),
        Overflow(9000, 8192),
    ),
    (
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 10000. This model's maximum context "
            "length is 8192 tokens and your request has 12 input tokens (10000 > 8192 - 12)."
        ),
        Overflow(12, 8192),
    ),
    (
        (
            "You passed 147421 input tokens and requested 16384 output tokens. However, the model's "
            "context length is only 163804 tokens, resulting in a maximum input length of 147420 "
            "tokens."
        ),
        Overflow(147421, 163804),
    ),
    (
        (
            "This model's maximum context length is 64 tokens. However, you requested 16 output tokens "
            "and your prompt contains at least 49 input tokens, for a total of at least 65 tokens."
        ),
        Overflow(49, 64),
    ),
    (
        (
            "The decoder prompt (length 9000) is longer than the maximum model length of 8192. Make "
            "sure that `max_model_len` is no smaller than the number of text tokens."
        ),
        Overflow(9000, 8192),
    ),
    (
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        Overflow(9000, 8192),
    ),
    (
        (
            "Input length (9000 tokens) exceeds the maximum allowed length (8191 tokens). Use a shorter"
            " input or enable --allow-auto-truncate."
        ),
        Overflow(9000, 8191),
    ),
    (
        (
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You "
            "requested a total of 9000 tokens: 8000 tokens from the input messages and 1000 tokens for "
            "the completion."
        ),
        Overflow(8000, 8192),
    ),
    (
        "request (3010 tokens) exceeds the available context size (2048 tokens), try increasing it",
        Overflow(3010, 2048),
    ),
    ("the request exceeds the available context size. try increasing the context size", Overflow()),
    ("the input length exceeds the context length", Overflow()),
    (
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in "
            "130,001 tokens."
        ),
        Overflow(130001, 128000),
    ),
    (
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
            "(7000 in the messages, 1000 in the functions, and 1000 in the completion)."
        ),
        Overflow(8000, 8192),
    ),
    ("prompt is too long: 213462 tokens > 200000 maximum", Overflow(213462, 200000)),
    ("Your input exceeds the context window of this model.", Overflow()),
]


@pytest.mark.parametrize(("message", "numbers"), OVERFLOWS)
def test_i137_an_overflow_is_known_by_its_words(message: str, numbers: Overflow) -> None:
    bodies = [
        {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}},
        {"object": "error", "message": message, "type": "BadRequestError", "code": 400},
        {"error": message},
        {"detail": message},
        {"error": {"message": f"ValueError: {message}", "type": "server_error", "code": 500}},
    ]
    for status, body in zip((400, 400, 400, 422, 500), bodies, strict=True):
        error = error_of_reply(status, msgspec.json.encode(body))
        assert isinstance(error, ContextOverflowError)
        assert error.overflow == numbers


def test_llamacpps_numbers_stand_beside_its_words() -> None:
    said = {
        "code": 400,
        "message": "too big",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 5,
        "n_ctx": 4,
    }
    error = error_of_reply(400, msgspec.json.encode({"error": said}))
    assert isinstance(error, ContextOverflowError)
    assert error.overflow == Overflow(5, 4)


def test_openais_code_needs_no_words() -> None:
    assert find_overflow("no", ("context_length_exceeded", None)) == Overflow()
    assert find_overflow("no", (400, "invalid_request_error")) is None


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens must be at least 1, got 0.",
        "temperature must be non-negative, got -1.0.",
        "The model `x` does not exist.",
        "Extra inputs are not permitted",
        "tools: maximum number of tools is 128",
    ],
)
def test_other_refusals_are_no_overflow(message: str) -> None:
    error = error_of_reply(400, msgspec.json.encode({"error": {"message": message}}))
    assert type(error) is InvalidRequestError
    assert message not in error.message


def test_a_rate_limit_that_speaks_of_tokens_is_a_rate_limit() -> None:
    message = "Rate limit reached: maximum context length of tokens per minute exceeded"
    assert type(error_of_reply(429, msgspec.json.encode({"error": {"message": message}}))) is RateLimitError


def test_a_server_that_was_started_without_its_tool_parser_is_the_operators_affair() -> None:
    message = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    error = error_of_reply(400, msgspec.json.encode({"error": {"message": message, "code": 400}}))
    assert type(error) is EngineConfigurationError
    assert error.log_detail == "engine status 400, code 400, which says: --enable-auto-tool-choice"
    assert message.replace('"', '\\"') in error.log_content


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b'{"error":{"message":"You said: secret","type":"server_error","code":"a_code"}}',
            ", type server_error, code a_code",
        ),
        (b'{"error":{"message":"secret","type":"You said: secret","code":{"you":"secret"}}}', ""),
        (b'{"detail":[{"msg":"bad","input":"secret"}]}', ""),
        (b"You said: secret", ", 16 bytes that are no JSON"),
    ],
)
def test_an_error_that_repeats_content_keeps_it_out_of_what_is_always_logged(body: bytes, told: str) -> None:
    error = error_of_reply(500, body)
    assert error.log_detail == f"engine status 500{told}"
    assert "secret" in error.log_content


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
        ),
        (400, "m is not a multimodal model"),
        (400, "Model only supports text input; received unsupported content type 'image_url'."),
        (400, "At most 0 image(s) may be provided in one prompt."),
    ],
)
def test_f96_an_image_that_the_model_cannot_see_is_the_clients_mistake(status: int, message: str) -> None:
    error = error_of_reply(status, msgspec.json.encode({"error": {"message": message}}))
    assert type(error) is InvalidRequestError
    assert "images" in error.message


LLAMACPP = (
    "Unable to generate parser for this template. Automatic parser generation failed: \n------------\n"
    "While executing CallExpression at line 1, column 226 in source:\n"
    "...index0 %% 2 == 0) %%}{{ raise_exception('%s\n               ^\nError: Jinja Exception: %s"
)
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
SENTENCES = (
    "System message must be at the beginning.",
    "No user query found in messages.",
    "Tool call IDs should be alphanumeric strings with length 9!",
    "Message has tool role, but there was no previous assistant message with a tool call!",
    "Cannot put tools in the first user message when there's no first user message!",
    "Unsupported message role: developer",
    "Invalid system message",
)
SINGLE = "This model only supports single tool-calls at once!"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (LLAMACPP % (ALTERNATE[:30], ALTERNATE), ALTERNATE),
        (LLAMACPP % ("No schema", "No json schema here, no grammar"), "No json schema here, no grammar"),
        (LLAMACPP % ("You said", "You said: " + "x" * 500), "You said: " + "x" * 190),
        (ALTERNATE, ALTERNATE),
        (f"{ALTERNATE} {ALTERNATE}", ALTERNATE),
        (f"{SINGLE} {SINGLE}", SINGLE),
        ("System role not supported", "System role not supported"),
        ("Only user and assistant roles are supported!", "Only user and assistant roles are supported!"),
        ("'functions' is undefined", "'functions' is undefined"),
        ("Unexpected message role.", "Unexpected message role."),
        *((sentence, sentence) for sentence in SENTENCES),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_of_the_template_is_told_in_its_words(status: int, message: str, reason: str) -> None:
    error = error_of_reply(status, msgspec.json.encode({"error": {"message": message}}))
    assert type(error) is InvalidRequestError
    assert error.message == f"messages: the model's chat template refuses this conversation: {reason}"


def test_a_refusal_of_the_template_that_llamacpp_calls_its_own_failure_is_the_requests() -> None:
    error = error_of_reply(500, msgspec.json.encode({"error": {"message": LLAMACPP % ("Conv", ALTERNATE)}}))
    assert error.message == f"messages: the model's chat template refuses this conversation: {ALTERNATE}"
    assert (
        type(error_of_reply(500, msgspec.json.encode({"error": {"message": ALTERNATE}}))) is EngineFaultError
    )


@pytest.mark.parametrize(
    "message",
    [
        f"{ALTERNATE}\nTraceback: in line 1",
        "x" * 200 + "roles must alternate",
        "It must alternate",
        "1 validation error: {'loc': ('body', 'messages', 0, 'role'), 'msg': 'invalid role'}",
    ],
)
def test_what_may_not_be_the_templates_words_is_not_told(message: str) -> None:
    error = error_of_reply(400, msgspec.json.encode({"error": {"message": message}}))
    assert error.message == "the engine refused the request as invalid"


def test_an_effort_that_the_template_refuses_is_still_one_to_leave_out() -> None:
    message = LLAMACPP % ("Unknown", "Unknown reasoning effort: xhigh")
    assert (
        type(error_of_reply(400, msgspec.json.encode({"error": {"message": message}}))) is EffortRefusedError
    )


@pytest.mark.parametrize("body", [b'"text"', b"[1]", b"5"])
def test_json_that_is_no_object_is_still_an_answer(body: bytes) -> None:
    assert type(error_of_reply(400, body)) is InvalidRequestError
    assert type(error_of_reply(500, body)) is EngineFaultError


def test_a_body_without_an_error_has_none() -> None:
    assert error_in_body(b'{"choices": []}') is None
    assert error_in_body(b"[]") is None
    assert error_in_body(b"{") is None
    assert error_in_body(b'{"error": null}') is None
    assert type(error_in_body(b'{"error": {"code": true}}')) is EngineFaultError
