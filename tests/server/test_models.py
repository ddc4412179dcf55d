"""What is served: the list in pages, one by its id, and names that mean another."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from dragoman.engines.scripted import ScriptedInferenceEngine, answer
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, error_of
from tests.support.serving import running_server

NAMES = tuple(f"m{number}" for number in range(25))


@pytest.fixture(scope="module")
def many() -> Iterator[str]:
    """The address of a server with 25 models."""
    with running_server(ScriptedInferenceEngine({"": answer("Hi.")}, models=NAMES)) as url:
        yield f"{url}/v1/models"


@pytest.mark.parametrize(
    ("query", "names", "has_more"),
    [
        ("", NAMES[:20], True),
        ("?limit=25", NAMES, False),
        ("?limit=1000", NAMES, False),
        ("?limit=2", NAMES[:2], True),
        ("?limit=2&after_id=m1", NAMES[2:4], True),
        ("?limit=5&after_id=m19", NAMES[20:], False),
        ("?after_id=m24", (), False),
        ("?limit=2&before_id=m5", NAMES[3:5], True),
        ("?limit=5&before_id=m5", NAMES[:5], False),
        ("?before_id=m0", (), False),
        ("?limit=&lifecycle[]=active&other=1", NAMES[:20], True),
    ],
)
def test_pages(many: str, query: str, names: tuple[str, ...], has_more: bool) -> None:
    page = httpx.get(many + query).json()
    assert tuple(model["id"] for model in page["data"]) == names
    assert page["has_more"] is has_more
    ends = (names[0], names[-1]) if names else (None, None)
    assert (page["first_id"], page["last_id"]) == ends
    assert page["object"] == "list"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=x", "limit"),
        ("?limit=-1", "limit"),
        ("?limit=%C2%B2", "limit"),
        ("?limit=99999999999999999999", "limit"),
        ("?after_id=none", "after_id"),
        ("?before_id=none", "before_id"),
        ("?after_id=m1&before_id=m2", "after_id"),
    ],
)
def test_a_wrong_query_is_named(many: str, query: str, path: str) -> None:
    response = httpx.get(many + query)
    assert response.status_code == 400
    assert error_of(response)["message"].startswith(f"{path}: ")


def test_a_model_speaks_to_both_kinds_of_clients(many: str) -> None:
    model = httpx.get(f"{many}/m3").json()
    assert {
        name: model[name] for name in ("type", "id", "display_name", "lifecycle", "max_input_tokens")
    } == {
        "type": "model",
        "id": "m3",
        "display_name": "m3",
        "lifecycle": "active",
        "max_input_tokens": 32_768,
    }
    assert model["created_at"] == "1970-01-01T00:00:00Z"
    assert (model["object"], model["created"], model["owned_by"]) == ("model", 0, "dragoman")


@pytest.mark.parametrize("spelled", ["org/Qwen3", "org%2FQwen3", "org%2fQwen3"])
def test_ids_may_hold_slashes(serve: Serve, spelled: str) -> None:
    url = serve(models=("other", "org/Qwen3")).url
    assert httpx.get(f"{url}/v1/models/{spelled}").json()["id"] == "org/Qwen3"
    assert ask(url, {**REQUEST, "model": "org/Qwen3"}).status_code == 200


def test_an_alias_is_answered_under_its_own_name(serve: Serve) -> None:
    served = serve(models=("first", "second"), aliases={"gpt-*": "second", "claude-*": ""})
    for name, model in (("claude-opus-5", "first"), ("gpt-9", "second"), ("second", "second")):
        assert httpx.get(f"{served.url}/v1/models/{name}").json()["id"] == name
        assert ask(served.url, {**REQUEST, "model": name}).json()["model"] == name
        assert served.engine.calls[-1].request.model == model


def test_an_unknown_model_is_told_what_there_is(serve: Serve) -> None:
    url = serve(models=("first", "second")).url
    for response in (httpx.get(f"{url}/v1/models/none"), ask(url, {**REQUEST, "model": "none"})):
        assert response.status_code == 404
        error = error_of(response)
        assert error["type"] == "not_found_error"
        assert "none" in error["message"]
        assert "first" in error["message"]
