"""The stage that resolves what a request points at."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dragoman.content import resolver as resolvers
from dragoman.content.fetch import Fetcher
from dragoman.content.resolver import ContentResolver
from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.settings import Settings
from dragoman.store.interface import FileContent
from dragoman.wire.anthropic.codec import decode_count, decode_messages
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller
from tests.support.pdfs import SCAN, document, pdf
from tests.unit.content.webserver import PUBLIC, Answers, page, web_server

PNG = b"\x89PNG\r\n\x1a\nand so on"
PNG_SOURCE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
TWO = pdf("One", "Two")
TWO_TEXTS = {
    "type": "content",
    "content": [{"type": "text", "text": text, "cache_control": None} for text in ("One", "Two")],
}
BLIND, SEEING = EngineCapabilities(), EngineCapabilities(images=True)


def stored(data: bytes, mime_type: str) -> FileContent:
    """A stored file."""
    return FileContent(data=data, mime_type=mime_type, filename="it")


FILES = {
    "file_png": stored(PNG, "application/octet-stream"),
    "file_pdf": stored(TWO, "application/pdf"),
    "file_text": stored("Grüße".encode(), "text/markdown; charset=utf-8"),
    "file_json": stored(b'{"a": 1}', "application/json"),
    "file_latin": stored("Grüße".encode("latin-1"), "text/plain"),
    "file_zip": stored(b"PK\3\4", "application/zip"),
}


async def read_file(file_id: str, scope: str) -> FileContent:
    if scope != "alice" or file_id not in FILES:
        expired = file_id == "file_old"
        raise NotFoundError("no such file", error_code="file_expired" if expired else None)
    return FILES[file_id]


@asynccontextmanager
async def resolving(fetcher: Fetcher | None = None, **settings: Any) -> AsyncIterator[ContentResolver]:
    made = ContentResolver(msgspec.convert(settings, Settings), read_file=read_file, fetcher=fetcher)
    try:
        yield made
    finally:
        await made.aclose()


def request(*blocks: dict[str, Any]) -> CountTokensRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": list(blocks)}]}
    return decode_count(msgspec.json.encode(body))


async def resolved(
    resolver: ContentResolver,
    asked: CountTokensRequest,
    capabilities: EngineCapabilities = BLIND,
    scope: str = "alice",
) -> Any:
    before = msgspec.json.encode(asked)
    found = await resolver(asked, Caller(request_id="req_1", scope=scope), capabilities)
    assert msgspec.json.encode(asked) == before
    return msgspec.json.decode(msgspec.json.encode(found))


async def source(resolver: ContentResolver, block: dict[str, Any], **kwargs: Any) -> Any:
    return (await resolved(resolver, request(block), **kwargs))["messages"][0]["content"][0]["source"]


async def refusal(resolver: ContentResolver, block: dict[str, Any], **kwargs: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        await resolved(resolver, request(block), **kwargs)
    return caught.value.message


def pointing(kind: str, **source: str) -> dict[str, Any]:
    return {"type": kind, "source": source}


# ---- nothing to do ----


async def test_what_points_at_nothing_comes_back_as_it_is() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "text", "text": "Hi"},
        {"type": "image", "source": PNG_SOURCE},
        {"type": "image", "source": {"type": "url", "url": "https://files.example/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
        {"type": "document", "source": {"type": "content", "content": "Hi"}},
        {"type": "tool_result", "tool_use_id": "a", "content": "Hi"},
    ]
    asked = request(*blocks)
    async with resolving() as resolver:
        assert await resolver(asked, Caller(request_id="req_1"), SEEING) is asked
    plain = decode_messages(b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}')
    async with resolving() as resolver:
        assert await resolver(plain, Caller(request_id="req_1"), SEEING) is plain


# ---- PDFs ----


async def test_pdfs_wherever_they_stand() -> None:
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [document(TWO)]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Here."},
                document(TWO, title="T", context="C", citations={"enabled": True}),
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "read"}, document(TWO)],
                },
            ],
        },
    ]
    asked = decode_count(msgspec.json.encode({"model": "m", "messages": messages}))
    async with resolving() as resolver:
        found = (await resolved(resolver, asked))["messages"]
    assert found[1]["content"][0]["source"] == TWO_TEXTS
    assert found[2]["content"][2]["content"][1]["source"] == TWO_TEXTS
    whole = found[2]["content"][1]
    assert (whole["source"], whole["title"], whole["context"]) == (TWO_TEXTS, "T", "C")


async def test_pages_as_images_for_a_model_that_sees() -> None:
    async with resolving() as resolver:
        found = await source(resolver, document(TWO), capabilities=SEEING)
    assert [page["source"]["media_type"] for page in found["content"]] == ["image/png"] * 2
    assert base64.b64decode(found["content"][0]["source"]["data"]).startswith(b"\x89PNG")


async def test_pages_as_text_by_setting() -> None:
    async with resolving(documents={"pdf": "text"}) as resolver:
        assert await source(resolver, document(TWO), capabilities=SEEING) == TWO_TEXTS


async def test_images_by_setting_need_a_model_that_sees() -> None:
    async with resolving(documents={"pdf": "images"}) as resolver:
        assert "which the model does not take" in await refusal(resolver, document(TWO))
    async with resolving(documents={"pdf": "images"}, text_only_images="note") as resolver:
        found = await source(resolver, document(TWO))
    assert [page["type"] for page in found["content"]] == ["image", "image"]


async def test_a_page_without_text_says_so() -> None:
    async with resolving() as resolver:
        found = await source(resolver, document(pdf("One", SCAN)))
    assert [page["text"] for page in found["content"]] == ["One", "[page 2 has no text]"]


async def test_a_pdf_without_text_is_refused_for_a_model_that_does_not_see() -> None:
    scans = document(pdf(SCAN, SCAN))
    async with resolving(documents={"pdf": "text"}) as resolver:
        assert await refusal(resolver, scans) == (
            "messages.0.content.0.source.data: the PDF cannot be read: none of its pages has text, "
            "and the model does not take images"
        )
        found = await source(resolver, scans, capabilities=SEEING)
    assert [page["text"] for page in found["content"]] == ["[page 1 has no text]", "[page 2 has no text]"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_bytes": 10}, f"it has {len(TWO)} bytes, more than 10 (documents.max_bytes)"),
        ({"max_pages": 1}, "it has 2 pages, more than 1 (documents.max_pages)"),
        ({"seconds": 1e-6}, "it takes longer than 1e-06 s (documents.seconds)"),
    ],
)
async def test_each_limit_is_named(limits: dict[str, Any], message: str) -> None:
    async with resolving(documents=limits) as resolver:
        said = await refusal(resolver, document(TWO))
    assert said == f"messages.0.content.0.source.data: the PDF cannot be read: {message}"


async def test_what_is_no_pdf() -> None:
    async with resolving() as resolver:
        assert "it is broken, or no PDF" in await refusal(resolver, document(b"hello"))
        block = document(TWO)
        block["source"]["data"] += "!"
        assert "valid base64" in await refusal(resolver, block)
        block["source"]["media_type"] = "application/zip"
        said = await refusal(resolver, block)
    assert said.startswith("messages.0.content.0.source.media_type: Input should be application/pdf")


async def test_a_pdf_is_read_once() -> None:
    async with resolving() as resolver:
        first = await source(resolver, document(TWO))
        (pid,) = resolver.pdfs.pool.pids
        await resolver.pdfs.pool.aclose()
        assert await source(resolver, document(TWO)) == first
        assert resolver.pdfs.pool.pids == []
        await source(resolver, document(pdf("Another")))
        assert resolver.pdfs.pool.pids not in ([], [pid])


async def test_large_documents_are_read_too() -> None:
    large = pdf("One", "Two") + b"%" * 400_000
    async with resolving() as resolver:
        assert await source(resolver, document(large)) == TWO_TEXTS


async def test_one_refusal_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [document(pdf(str(number))) for number in range(5)]
    blocks[3]["source"]["media_type"] = "application/zip"
    async with resolving() as resolver:
        with pytest.raises(InvalidRequestError, match=r"messages\.0\.content\.3\.source\.media_type"):
            await resolved(resolver, request(*blocks))
        assert len(asyncio.all_tasks()) <= 1 + len(blocks)


# ---- files ----


async def test_files() -> None:
    async with resolving() as resolver:
        assert await source(resolver, pointing("image", type="file", file_id="file_png")) == PNG_SOURCE
        assert await source(resolver, pointing("document", type="file", file_id="file_pdf")) == TWO_TEXTS
        for name, text in (("file_text", "Grüße"), ("file_json", '{"a": 1}')):
            assert await source(resolver, pointing("document", type="file", file_id=name)) == {
                "type": "text",
                "media_type": "text/plain",
                "data": text,
            }
        shown = await source(resolver, pointing("document", type="file", file_id="file_png"))
    assert [block["source"] for block in shown["content"]] == [PNG_SOURCE]


@pytest.mark.parametrize(
    ("kind", "file_id", "message"),
    [
        ("image", "file_pdf", "it is application/pdf, not a JPEG"),
        ("document", "file_zip", "it is application/zip; a document is a PDF or text"),
        ("document", "file_latin", "it is no text in utf-8"),
    ],
)
async def test_files_of_the_wrong_kind(kind: str, file_id: str, message: str) -> None:
    async with resolving() as resolver:
        said = await refusal(resolver, pointing(kind, type="file", file_id=file_id))
    assert said.startswith(f"messages.0.content.0.source.file_id: {message}")


@pytest.mark.parametrize(
    ("file_id", "scope", "code"),
    [("file_none", "alice", None), ("file_old", "alice", "file_expired"), ("file_png", "bob", None)],
)
async def test_files_that_are_not_there(file_id: str, scope: str, code: str | None) -> None:
    async with resolving() as resolver:
        with pytest.raises(NotFoundError) as caught:
            await resolved(resolver, request(pointing("image", type="file", file_id=file_id)), scope=scope)
    assert caught.value.message == "messages.0.content.0.source.file_id: no such file"
    assert caught.value.error_code == code


@pytest.mark.parametrize("kind", ["image", "document"])
async def test_without_a_store_no_file_is_taken(kind: str) -> None:
    resolver = ContentResolver(Settings())
    said = await refusal(resolver, pointing(kind, type="file", file_id="file_png"))
    assert said == "messages.0.content.0.source: file sources are not available on this server"


async def test_what_is_pointed_at_counts_as_the_body_does() -> None:
    block = pointing("document", type="file", file_id="file_pdf")
    async with resolving(limits={"body_bytes": len(TWO) + 1}) as resolver:
        await resolved(resolver, request(block))
        with pytest.raises(InvalidRequestError, match=r"limits\.body_bytes"):
            await resolved(resolver, request(block, block))


# ---- addresses ----


async def to_public(host: str, port: int) -> Sequence[str]:
    return [PUBLIC]


@asynccontextmanager
async def on_the_web(answers: Answers, **settings: Any) -> AsyncIterator[tuple[ContentResolver, Any]]:
    given = msgspec.convert({"image_urls": "fetch", "document_urls": "fetch", **settings}, Settings)
    fetcher = Fetcher(given.fetch, allow=lambda address: address == PUBLIC, lookup=to_public)
    async with web_server(answers) as server:
        resolver = ContentResolver(given, fetcher=fetcher)
        try:
            yield resolver, server
        finally:
            await resolver.aclose()


async def test_images_and_documents_are_fetched_once() -> None:
    answers: Answers = {
        "/a": page(PNG, "text/html"),
        "/b": page(TWO),
        "/c": page("Grüße".encode("latin-1"), "text/plain; charset=latin-1"),
    }
    async with on_the_web(answers) as (resolver, server):
        for _ in range(2):
            image = pointing("image", type="url", url=server.url("/a"))
            assert await source(resolver, image, capabilities=SEEING) == PNG_SOURCE
        assert await source(resolver, pointing("document", type="url", url=server.url("/b"))) == TWO_TEXTS
        text = await source(resolver, pointing("document", type="url", url=server.url("/c")))
        assert text["data"] == "Grüße"
        assert [path for _, path in server.asked] == ["/a", "/b", "/c"]


async def test_what_cannot_be_fetched_is_told_by_its_path() -> None:
    async with on_the_web({"/a": b"HTTP/1.1 404 No\r\n\r\n", "/b": page(b"<svg/>", "image/svg+xml")}) as (
        resolver,
        server,
    ):
        said = [
            await refusal(resolver, pointing("image", type="url", url=server.url(path)), capabilities=SEEING)
            for path in ("/a", "/b")
        ]
    assert (
        said[0] == "messages.0.content.0.source.url: cannot be fetched: its server answered with status 404"
    )
    assert said[1].startswith("messages.0.content.0.source.url: it is image/svg+xml, not a JPEG")


async def test_no_image_is_fetched_for_a_model_that_does_not_see() -> None:
    async with on_the_web({}) as (resolver, server):
        image = pointing("image", type="url", url=server.url("/a"))
        assert await source(resolver, image) == image["source"]
        assert server.asked == []


async def test_images_inside_documents_are_resolved() -> None:
    image = pointing("image", type="file", file_id="file_png")
    block = {"type": "document", "source": {"type": "content", "content": [image]}}
    async with resolving() as resolver:
        found = await source(resolver, block)
        assert found["content"][0]["source"] == PNG_SOURCE
        image["source"]["file_id"] = "none"
        with pytest.raises(
            NotFoundError, match=r"messages\.0\.content\.0\.source\.content\.0\.source\.file_id"
        ):
            await resolved(resolver, request(block))


async def test_documents_by_address_are_refused_by_default() -> None:
    async with resolving() as resolver:
        said = await refusal(resolver, pointing("document", type="url", url="https://files.example/a.pdf"))
    assert said.startswith("messages.0.content.0.source: documents by url are not accepted here")


async def test_addresses_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "MOST_ADDRESSES", 2)
    blocks = [pointing("image", type="url", url="https://files.example/a.png")] * 3
    async with resolving(image_urls="fetch") as resolver:
        with pytest.raises(InvalidRequestError, match="more than 2 addresses"):
            await resolved(resolver, request(*blocks), SEEING)
