"""The stage that resolves what a request points at, before the request is translated."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec

from dragoman.content.cache import Cache
from dragoman.content.documents import PdfReader, size_of
from dragoman.content.fetch import Fetched, Fetcher
from dragoman.content.media import PDF, image_type, is_pdf, is_text, text_of
from dragoman.content.places import Pointing, Steps, pointing, replaced, spelled
from dragoman.content.refusal import ContentError
from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.settings import Settings
from dragoman.store.interface import FileContent
from dragoman.wire.anthropic.blocks import (
    Base64Source,
    ContentSource,
    DocumentBlock,
    DocumentSource,
    FileSource,
    ImageBlock,
    PlainTextSource,
    URLSource,
)
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller

Request = TypeVar("Request", bound=CountTokensRequest)

# As many images as the public API takes in one request.
MOST_ADDRESSES = 100
# Of one request's blocks: so many are not many open files, and do not stand before those of other requests.
AT_A_TIME = 8
# Of the pages of all its documents: a small PDF can have large pages, and a request many small PDFs.
MOST_PAGES = 256 * 1024 * 1024
# What an address led to is kept for the next turns of a conversation, which name it again.
_FETCHED_BYTES = 64 * 1024 * 1024
_FETCHED_SECONDS = 300.0
_IMAGES = "a JPEG, PNG, GIF or WebP image"


ReadFile = Callable[[str, str], Awaitable[FileContent]]
"""Reads a file by its id and the scope of who asks.

Raises `NotFoundError` where that scope has no such file; with the error code `file_expired` where it had one.
"""


class ContentResolver:
    """Puts what a request points at in its place: text and images, which can be translated.

    A request that points at nothing comes back as it is, the very object. Without `read_file` no file can be
    named. What cannot be resolved is an `InvalidRequestError` or a `NotFoundError` with the block's path.
    """

    def __init__(
        self, settings: Settings, *, read_file: ReadFile | None = None, fetcher: Fetcher | None = None
    ) -> None:
        self.settings = settings
        self.read_file = read_file
        self.pdfs = PdfReader(settings.documents)
        self._fetcher = fetcher or Fetcher(settings.fetch)
        self._fetched: Cache[Fetched] = Cache(_size_of, max_bytes=_FETCHED_BYTES, seconds=_FETCHED_SECONDS)

    async def __call__(self, request: Request, caller: Caller, capabilities: EngineCapabilities) -> Request:
        """The request with nothing left in it that points elsewhere, but for what the engine fetches."""
        engine_fetches = self.settings.image_urls != "fetch" or not capabilities.images
        found = {
            steps: block
            for steps, block in pointing(request)
            # what the engine fetches, or the translation refuses
            if not (engine_fetches and isinstance(block, ImageBlock) and isinstance(block.source, URLSource))
        }
        if not found:
            return request
        if sum(isinstance(block.source, URLSource) for block in found.values()) > MOST_ADDRESSES:
            raise InvalidRequestError(f"messages: more than {MOST_ADDRESSES} addresses to fetch")
        one = _OneRequest(self, caller, capabilities)
        return replaced(request, await one.all(found))

    async def fetch(self, url: str) -> Fetched:
        """What an address leads to; asked for again within minutes, the same."""
        return await self._fetched.get(url, lambda: self._fetcher.get(url))

    async def aclose(self) -> None:
        """Ends the processes and connections. Safe to call twice; they come again when they are needed."""
        await self._fetched.aclose()
        await self._fetcher.aclose()
        await self.pdfs.aclose()


class _OneRequest:
    """The resolving of one request's blocks."""

    def __init__(self, resolver: ContentResolver, caller: Caller, capabilities: EngineCapabilities) -> None:
        self._resolver = resolver
        self._settings = resolver.settings
        self._caller = caller
        self._sees = capabilities.images
        self._left = resolver.settings.limits.body_bytes
        self._pages_left = MOST_PAGES

    async def all(self, found: Mapping[Steps, Pointing]) -> dict[Steps, Pointing]:
        """The blocks that take the places of those that were found, a few at a time."""
        blocks: dict[Steps, Pointing] = {}
        waiting = iter(found.items())

        async def work() -> None:
            for steps, block in waiting:
                blocks[steps] = await self._resolved(steps, block)

        tasks = [asyncio.create_task(work()) for _ in range(min(AT_A_TIME, len(found)))]
        try:
            await asyncio.gather(*tasks)
        except BaseException:  # a refusal or a cancellation: the other blocks are of no use to anybody
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        return blocks

    async def _resolved(self, steps: Steps, block: Pointing) -> Pointing:
        """The block that takes the place of one that points elsewhere."""
        path = f"{spelled(steps)}.source"
        if isinstance(block, ImageBlock):
            return msgspec.structs.replace(block, source=await self._image(block, path))
        return msgspec.structs.replace(block, source=await self._document(block, path))

    async def _image(self, block: ImageBlock, path: str) -> Base64Source:
        assert not isinstance(block.source, Base64Source)
        field, data, kind, _ = await self._bytes(block.source, path)
        if image_type(data) is None:
            raise InvalidRequestError(f"{path}.{field}: it is {kind or 'of no known type'}, not {_IMAGES}")
        return _base64(data)

    async def _document(self, block: DocumentBlock, path: str) -> DocumentSource:
        source = block.source
        if isinstance(source, Base64Source):
            if source.media_type != PDF:
                raise InvalidRequestError(
                    f"{path}.media_type: Input should be {PDF} (a base64 source) or text/plain "
                    "(a text source)"
                )
            return await self._pdf(source.data, f"{path}.data")
        assert isinstance(source, FileSource | URLSource)
        if isinstance(source, URLSource) and self._settings.document_urls == "refuse":
            raise InvalidRequestError(
                f"{path}: documents by url are not accepted here (document_urls); send them as base64"
            )
        field, data, kind, charset = await self._bytes(source, path)
        if is_pdf(data):
            return await self._pdf(data, f"{path}.{field}")
        if image_type(data) is not None:
            return ContentSource([ImageBlock(source=_base64(data))])
        if is_text(kind):
            try:
                return PlainTextSource(text_of(data, charset), "text/plain")
            except ContentError as error:
                raise InvalidRequestError(f"{path}.{field}: {error.message}") from None
        raise InvalidRequestError(
            f"{path}.{field}: it is {kind or 'of no known type'}; a document is a PDF or text"
        )

    async def _pdf(self, data: bytes | str, path: str) -> ContentSource:
        wanted = self._settings.documents.pdf
        images = wanted == "images" or (wanted == "auto" and self._sees)
        if images and not self._sees and self._settings.text_only_images == "refuse":
            raise InvalidRequestError(
                f"{path}: PDF pages are given as images here (documents.pdf), which the model does not take"
            )
        try:
            document = await self._resolver.pdfs.read(data, images=images)
            if not images and not document.has_text and not self._sees:
                raise ContentError("none of its pages has text, and the model does not take images")
        except ContentError as error:
            raise InvalidRequestError(f"{path}: the PDF cannot be read: {error.message}") from None
        self._pages_left -= size_of(document)
        if self._pages_left < 0:
            raise InvalidRequestError(
                f"{path}: the pages of all PDFs of the request are more than {MOST_PAGES} bytes"
            )
        return ContentSource(list(document.pages))

    async def _bytes(self, source: FileSource | URLSource, path: str) -> tuple[str, bytes, str, str]:
        """The field that points, the bytes that it points at, their media type and charset."""
        if isinstance(source, FileSource):
            file = await self._file(source.file_id, path)
            self._take(len(file.data), f"{path}.file_id")
            return "file_id", file.data, file.mime_type.partition(";")[0].strip().lower(), ""
        try:
            found = await self._resolver.fetch(source.url)
        except ContentError as error:
            raise InvalidRequestError(f"{path}.url: cannot be fetched: {error.message}") from None
        self._take(len(found.data), f"{path}.url")
        return "url", found.data, found.media_type, found.charset

    async def _file(self, file_id: str, path: str) -> FileContent:
        if self._resolver.read_file is None:
            raise InvalidRequestError(f"{path}: file sources are not available on this server")
        try:
            return await self._resolver.read_file(file_id, self._caller.scope)
        except NotFoundError as error:
            raise NotFoundError(
                f"{path}.file_id: {error.message}", error_code=error.error_code, details=error.details
            ) from None

    def _take(self, size: int, path: str) -> None:
        """Counts what is brought in as if it had come with the body."""
        self._left -= size
        if self._left < 0:
            raise InvalidRequestError(
                f"{path}: all that the request points at is more than "
                f"{self._settings.limits.body_bytes} bytes (limits.body_bytes)"
            )


def _base64(data: bytes) -> Base64Source:
    media_type = image_type(data)
    assert media_type is not None
    return Base64Source(data=base64.b64encode(data).decode("ascii"), media_type=media_type)


def _size_of(fetched: Fetched) -> int:
    return len(fetched.data)
