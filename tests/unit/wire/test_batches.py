"""The body that makes a batch: what is taken, and what is refused by its path."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.batches import decode_batch


def body(*requests: Any, **more: Any) -> bytes:
    return msgspec.json.encode({"requests": list(requests), **more})


ONE = {"custom_id": "a", "params": {"model": "m"}}


def test_params_are_kept_as_they_came() -> None:
    given = b'{"requests": [ {"custom_id" : "a_-Z9", "params":  {"b": 1.0,  "a": [ ]} }]}'
    (request,) = decode_batch(given, most=1)
    assert request.custom_id == "a_-Z9"
    assert bytes(request.params) == b'{"b": 1.0,  "a": [ ]}'


def test_the_params_are_parts_of_the_body_and_no_copies() -> None:
    given = bytearray(body(ONE))
    (request,) = decode_batch(given, most=1)
    with pytest.raises(BufferError, match="Existing exports"):
        given += b" "
    assert bytes(given).count(bytes(request.params)) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "The request body is empty"),
        (b"{", "not valid JSON"),
        (b'{"requests": [{"custom_id": "\xff"}]}', "not valid UTF-8"),
        (b"[" * 100_000, "The request body"),
        (b"{}", "requests: Field required"),
        (b'{"requests": {}}', "requests: Input should be an array"),
        (body(), "requests: Input should have at least 1 item"),
        (
            body(*[{**ONE, "custom_id": name} for name in "abcd"]),
            "requests: Input should have at most 3 items",
        ),
        (body({"params": {}}), "requests.0.custom_id: Field required"),
        (body(ONE, {"custom_id": "b"}), "requests.1.params: Field required"),
        (body({**ONE, "custom_id": 1}), "requests.0.custom_id: Input should be a string"),
        (body(ONE, ONE), "requests.1.custom_id: 'a' stands in the batch twice"),
        (body({**ONE, "custom_id": ""}), "requests.0.custom_id: Input should be 1 to 64"),
        (body({**ONE, "custom_id": "x" * 65}), "requests.0.custom_id: Input should be 1 to 64"),
        (body({**ONE, "custom_id": "a b"}), "requests.0.custom_id: Input should be 1 to 64"),
        (body({**ONE, "custom_id": "é"}), "requests.0.custom_id: Input should be 1 to 64"),
        (body({**ONE, "custom_id": "a\n"}), "requests.0.custom_id: Input should be 1 to 64"),
        (body({**ONE, "params": []}), "requests.0.params: Input should be an object"),
        (body({**ONE, "params": None}), "requests.0.params: Input should be an object"),
    ],
)
def test_what_is_wrong_is_named(given: bytes, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_batch(given, most=3)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (body(ONE, other=1), "other"),
        (body(ONE, {**ONE, "custom_id": "b", "method": "POST"}), "requests.1.method"),
    ],
)
def test_other_keys_are_refused_in_strict_mode_only(given: bytes, path: str) -> None:
    assert decode_batch(given, most=3)
    with pytest.raises(InvalidRequestError, match=rf"^{path}: Extra inputs are not permitted$"):
        decode_batch(given, most=3, strict=True)
    assert decode_batch(body(ONE), most=3, strict=True)
