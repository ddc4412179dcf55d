"""Errors as values."""

from __future__ import annotations

import pickle

import pytest

from dragoman.errors import DragomanError, PromptTooLongError, RateLimitError, ThreadNotFoundError


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slowly", retry_after=2.0, details={"a": 1}, log_detail="b", log_content="c"),
        PromptTooLongError(3, 2, log_detail="d"),
        PromptTooLongError(),
        ThreadNotFoundError("msg_1"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: DragomanError) -> None:
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 - what this test wrote
    assert type(there) is type(error)
    assert (str(there), there.args, vars(there)) == (str(error), error.args, vars(error))
