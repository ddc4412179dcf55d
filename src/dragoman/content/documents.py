"""PDF documents as blocks of text or images, each document read once."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from dragoman.content.cache import Cache
from dragoman.content.pages import Job, Page, PageImage, PageText
from dragoman.content.pool import WorkerPool
from dragoman.content.refusal import ContentError
from dragoman.settings import Documents
from dragoman.wire.anthropic.blocks import Base64Source, ImageBlock, TextBlock

Made = TypeVar("Made")
Given = TypeVar("Given", bound=bytes | str)

PageBlock = TextBlock | ImageBlock
# Of blocks that are kept, and of workers.
_CACHED_BYTES = 64 * 1024 * 1024
_MOST_WORKERS = 4
# From this size on, hashing or decoding would be felt by those whose tokens are streaming.
_LARGE = 256 * 1024


class PdfDocument(msgspec.Struct, frozen=True):
    """A PDF that was read: a block for each page, and whether any page had text."""

    pages: tuple[PageBlock, ...]
    has_text: bool


def size_of(document: PdfDocument) -> int:
    """How long the blocks of a document are."""
    return sum(
        len(block.text if isinstance(block, TextBlock) else _data_of(block)) for block in document.pages
    )


class PdfReader:
    """Reads PDFs under the settings' limits. The same bytes give the same blocks."""

    def __init__(self, settings: Documents) -> None:
        self._settings = settings
        self.pool = WorkerPool(max(1, min(_MOST_WORKERS, (os.cpu_count() or 1) // 2)))
        self._cache: Cache[PdfDocument] = Cache(size_of, max_bytes=_CACHED_BYTES)

    async def read(self, data: bytes | str, *, images: bool) -> PdfDocument:
        """The pages of a PDF, given as bytes or in base64; `ContentError` says what is wrong with it."""
        key = (await _off_loop(_digest, data), isinstance(data, bytes), images)
        return await self._cache.get(key, partial(self._read, data, images=images))

    async def aclose(self) -> None:
        """Ends what is being read, and the workers."""
        await self._cache.aclose()
        await self.pool.aclose()

    async def _read(self, data: bytes | str, *, images: bool) -> PdfDocument:
        plain = data if isinstance(data, bytes) else await _off_loop(_decoded, data)
        if len(plain) > self._settings.max_bytes:
            raise ContentError(
                f"it has {len(plain)} bytes, more than {self._settings.max_bytes} (documents.max_bytes)"
            )
        pages = await self.pool.read(self._job(plain, images=images))
        return PdfDocument(
            pages=tuple(_block(number, page) for number, page in enumerate(pages, 1)),
            has_text=any(isinstance(page, PageText) and bool(page.text) for page in pages),
        )

    def _job(self, data: bytes, *, images: bool) -> Job:
        settings = self._settings
        return Job(
            data=data,
            images=images,
            max_pages=settings.max_pages,
            max_pixels=settings.max_pixels,
            max_image_pixels=settings.max_image_pixels,
            seconds=settings.seconds,
        )


def _block(number: int, page: Page) -> PageBlock:
    if isinstance(page, PageImage):
        data = base64.b64encode(page.data).decode("ascii")
        return ImageBlock(source=Base64Source(data=data, media_type=page.media_type))
    return TextBlock(text=page.text or f"[page {number} has no text]")


def _data_of(block: ImageBlock) -> str:
    assert isinstance(block.source, Base64Source)
    return block.source.data


def _digest(data: bytes | str) -> bytes:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")).digest()


def _decoded(text: str) -> bytes:
    try:
        # some encoders break lines
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError:
        raise ContentError("Input should be valid base64") from None


async def _off_loop(work: Callable[[Given], Made], data: Given) -> Made:
    return work(data) if len(data) < _LARGE else await asyncio.to_thread(work, data)
