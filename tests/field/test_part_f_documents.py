"""Field cases, part F: PDF documents and what is fetched, against a server."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ImagePart
from tests.server.conftest import Serve
from tests.server.http import REQUEST, asked, refused
from tests.support.pdfs import document, encrypted, pdf

BLIND, SEEING = EngineCapabilities(), EngineCapabilities(images=True)
TWO = pdf("One", "Two")


def turn(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


def at(url: str, kind: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "url", "url": url}}


@pytest.mark.parametrize("stream", [False, True])
def test_case_f96_an_image_that_cannot_be_fetched_is_a_400_not_a_500(serve: Serve, stream: bool) -> None:
    served = serve(capabilities=SEEING, image_urls="fetch")
    error = refused(served.url, messages=turn(at("http://127.0.0.1:9/a.png", "image")), stream=stream)
    assert error["message"] == (
        "messages.0.content.0.source.url: cannot be fetched: it does not lead to the public internet"
    )
    assert served.engine.calls == []


def test_case_f96_nor_is_a_count_of_it(serve: Serve) -> None:
    served = serve(capabilities=SEEING, image_urls="fetch")
    body = {"model": "claude-test", "messages": turn(at("ftp://a.example/a.png", "image"))}
    response = httpx.post(f"{served.url}/v1/messages/count_tokens", json=body, timeout=20)
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"max_bytes": 9}, "9 (documents.max_bytes)"),
        ({"max_pages": 1}, "1 (documents.max_pages)"),
        ({"seconds": 1e-6}, "1e-06 s (documents.seconds)"),
    ],
)
def test_case_f99_each_limit_of_a_pdf_is_a_400_that_names_it(
    serve: Serve, limits: dict[str, Any], name: str
) -> None:
    message = refused(serve(documents=limits).url, messages=turn(document(TWO)))["message"]
    assert message.startswith("messages.0.content.0.source.data: the PDF cannot be read: ")
    assert message.endswith(name)


@pytest.mark.parametrize("data", [b"no PDF", TWO[:300], encrypted(TWO, "secret")])
def test_case_f99_a_pdf_that_cannot_be_read_is_a_400(serve: Serve, data: bytes) -> None:
    message = refused(serve().url, messages=turn(document(data)))["message"]
    assert message.startswith("messages.0.content.0.source.data: the PDF cannot be read: it is ")


def test_case_f99_a_pdf_by_address_is_refused_unless_the_settings_fetch_it(serve: Serve) -> None:
    blocks = turn(at("http://127.0.0.1:9/a.pdf", "document"))
    assert "not accepted here" in refused(serve().url, messages=blocks)["message"]
    assert "public internet" in refused(serve(document_urls="fetch").url, messages=blocks)["message"]


def test_case_f99_pages_are_text_or_images(serve: Serve) -> None:
    for capabilities, how, images in (
        (BLIND, "auto", 0),
        (SEEING, "auto", 2),
        (SEEING, "text", 0),
        (SEEING, "images", 2),
    ):
        served = serve(capabilities=capabilities, documents={"pdf": how})
        asked(served.url, messages=turn(document(TWO)))
        (message,) = served.engine.calls[0].request.messages
        parts = message.content or []
        assert sum(isinstance(part, ImagePart) for part in parts) == images


def test_case_f99_what_only_looks_like_a_pdf_is_untouched(serve: Serve) -> None:
    schema = {"type": "object", "examples": [document(TWO)], "properties": {"a": {"default": document(TWO)}}}
    tools = [{"name": "f", "input_schema": schema}]
    call = {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {"a": document(TWO)}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_a",
        "content": msgspec.json.encode(document(TWO)).decode(),
    }
    served = serve(capabilities=SEEING)
    messages = [REQUEST["messages"][0], {"role": "assistant", "content": [call]}, *turn(result)]
    assert asked(served.url, messages=messages, tools=tools).status_code == 200
    request = served.engine.calls[0].request
    assert msgspec.json.decode(request.tools[0].function.parameters) == schema
    called = request.messages[1].tool_calls
    assert called is not None
    assert msgspec.json.decode(called[0].function.arguments) == call["input"]
    assert request.messages[2].content == result["content"]
    assert served.running.app.service.content.pdfs.pool.pids == []
