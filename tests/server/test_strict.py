"""Strict mode: what the public API would refuse is refused, at every depth."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.engines.scripted import answer
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, error_of
from tests.support.translation import PNG, assistant, call, document, image, result, system, text, tool, user

NEWER = {"anthropic-version": "2026-10-21"}
WHOLE: dict[str, Any] = {
    **REQUEST,
    "max_tokens": 4096,
    "system": [text("s", cache_control={"type": "ephemeral"})],
    "tools": [tool("f", cache_control={"type": "ephemeral"})],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
    "cache_control": {"type": "ephemeral"},
    "messages": [
        user(image(PNG), document([text("a"), image(PNG)])),
        assistant(call("toolu_a", "f", {"anything": {"goes": 1}})),
        user(result("toolu_a", [text("a"), document("b"), {"type": "browser_state", "tabs": []}])),
        system("t") | {"output_config": {"effort": "low"}},
    ],
}
# An answer of the schema that the request asks for.
IN_FORM = {"": answer("{}")}
PLACES = [
    "",
    "system.0",
    "system.0.cache_control",
    "tools.0",
    "tools.0.cache_control",
    "tool_choice",
    "thinking",
    "output_config",
    "output_config.format",
    "metadata",
    "cache_control",
    "messages.0",
    "messages.0.content.0",
    "messages.0.content.0.source",
    "messages.0.content.1",
    "messages.0.content.1.source",
    "messages.0.content.1.source.content.0",
    "messages.0.content.1.source.content.1.source",
    "messages.1.content.0",
    "messages.2.content.0",
    "messages.2.content.0.content.0",
    "messages.2.content.0.content.1.source",
    "messages.2.content.0.content.2",
    "messages.3.output_config",
]


def with_extra(value: Any, path: list[str]) -> Any:
    """The value with an unknown key in the object at a path."""
    if not path:
        return value | {"colour": "blue"}
    if isinstance(value, list):
        return [with_extra(item, path[1:]) if n == int(path[0]) else item for n, item in enumerate(value)]
    return value | {path[0]: with_extra(value[path[0]], path[1:])}


@pytest.fixture
def strict(serve: Serve) -> str:
    """The address of a server that is strict, whose engine keeps to the schema."""
    return serve(IN_FORM, strict=True).url


@pytest.mark.parametrize("place", PLACES)
def test_an_unknown_key_is_refused_by_its_path_at_every_depth(strict: str, place: str) -> None:
    body = with_extra(WHOLE, place.split(".") if place else [])
    response = ask(strict, body)
    assert response.status_code == 400
    expected = f"{place}.colour".removeprefix(".")
    assert error_of(response)["message"] == f"{expected}: Extra inputs are not permitted"


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_a_request_of_known_keys_is_answered_under_both_versions(strict: str, version: str) -> None:
    assert ask(strict, WHOLE, headers={"anthropic-version": version}).status_code == 200


def test_unknown_keys_at_every_depth_are_taken_without_it(serve: Serve) -> None:
    url, body = serve(IN_FORM).url, WHOLE
    for place in PLACES:
        body = with_extra(body, place.split(".") if place else [])
    assert ask(url, body).status_code == 200


@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k"])
def test_sampling_is_gone_from_the_newer_version(strict: str, serve: Serve, field: str) -> None:
    body = {**REQUEST, field: 1}
    response = ask(strict, body, headers=NEWER)
    assert response.status_code == 400
    assert error_of(response)["message"] == f"{field}: Extra inputs are not permitted"
    assert ask(strict, body, headers={"anthropic-version": "2023-06-01"}).status_code == 200
    assert ask(serve().url, body, headers=NEWER).status_code == 200


def test_citations_of_a_user_are_gone_from_the_newer_version(strict: str, serve: Serve) -> None:
    body = {**REQUEST, "messages": [user(text("a", citations=[{"type": "char_location"}]))]}
    response = ask(strict, body, headers=NEWER)
    assert response.status_code == 400
    assert error_of(response)["message"].startswith("messages.0.content.0.citations: ")
    assert ask(serve().url, body, headers=NEWER).status_code == 200


def test_a_document_of_an_assistant_is_gone_from_the_newer_version(serve: Serve) -> None:
    body = {**REQUEST, "messages": [user("a"), assistant(document("b")), user("c")]}
    url = serve().url
    response = ask(url, body, headers=NEWER)
    assert response.status_code == 400
    assert error_of(response)["message"].startswith("messages.1.content.0: document blocks are not allowed")
    assert ask(url, body, headers={"anthropic-version": "2023-06-01"}).status_code == 200


@pytest.mark.parametrize("field", [{"clear_at": "never"}, {"output_config": {"effort": "low"}}])
def test_what_belongs_to_a_system_turn_stands_in_no_other(
    strict: str, serve: Serve, field: dict[str, Any]
) -> None:
    body = {**REQUEST, "messages": [user("a") | field]}
    (name,) = field
    response = ask(strict, body)
    assert response.status_code == 400
    assert error_of(response)["message"] == f"messages.0.{name}: only permitted on system messages"
    assert ask(serve().url, body).status_code == 200
