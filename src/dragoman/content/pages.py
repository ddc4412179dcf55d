"""The pages of a PDF as text or as images. Runs in a worker process: see `worker`."""

from __future__ import annotations

import importlib
import io
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.content.refusal import ContentError

MODULES = ("pypdf", "pypdfium2", "PIL.Image")
"""What reads PDFs; an extra holds them."""
# All pages of a document together.
MAX_OUTPUT = 64 * 1024 * 1024
# A small page is not blown up beyond what a good printer would draw of it: 300 dots per inch.
_MAX_SCALE = 300 / 72
# With fewer dots per inch, the ten points of a usual text are less than five pixels: nothing could be read.
MIN_DPI = 36
# Drawn pages are smaller and sharper as PNG, scanned ones many times smaller as JPEG.
_LARGE_PNG = 256 * 1024
_JPEG_QUALITY = 85
# The beginning of a JPEG 2000 picture: two marks, the length and the profile, and then its size.
_JPEG_2000 = re.compile(rb"\xff\x4f\xff\x51.{4}(.{8})", re.DOTALL)
_SIZE = struct.Struct(">II")
_ENCRYPTED = "it is encrypted, and needs a password"
# What no text holds: from broken tables of characters. Line ends become one kind.
_CONTROLS = {number: 0xFFFD for number in range(0x20) if chr(number) not in "\t\n"} | {
    0x0B: "\n",
    0x0C: "\n",
    0x0D: "\n",
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A document and how to read it; seconds bound the processor time."""

    data: bytes
    images: bool
    max_pages: int
    max_pixels: int
    max_image_pixels: int
    seconds: float


class PageText(msgspec.Struct, frozen=True, tag="text"):
    """The text of one page."""

    text: str


class PageImage(msgspec.Struct, frozen=True, tag="image"):
    """What one page looks like."""

    media_type: str
    data: bytes


Page = PageText | PageImage


def read_pages(job: Job) -> list[Page]:
    """The pages in order; `ContentError` says what is wrong with the document."""
    pages: list[Page] = []
    left = MAX_OUTPUT
    for page in _images(job) if job.images else _texts(job):
        left -= len(page.data if isinstance(page, PageImage) else page.text)
        if left < 0:
            kind = "images" if job.images else "text"
            raise ContentError(f"its pages are more than {MAX_OUTPUT} bytes as {kind}")
        pages.append(page)
    return pages


def _check_count(pages: int, job: Job) -> None:
    if not pages:
        raise ContentError("it has no pages")
    if pages > job.max_pages:
        raise ContentError(f"it has {pages} pages, more than {job.max_pages} (documents.max_pages)")


def _texts(job: Job) -> Iterator[PageText]:
    pypdf: Any = importlib.import_module("pypdf")
    try:
        yield from _texts_of(pypdf.PdfReader(io.BytesIO(job.data), strict=False), job)
    except pypdf.errors.LimitReachedError:
        raise ContentError("it unpacks to more than a reader of PDFs takes") from None


def _texts_of(reader: Any, job: Job) -> Iterator[PageText]:
    # a document that only restricts its use opens with an empty password
    if reader.is_encrypted and not reader.decrypt(""):
        raise ContentError(_ENCRYPTED)
    _check_count(len(reader.pages), job)
    for page in reader.pages:
        yield PageText(clean(page.extract_text()))


def clean(text: str) -> str:
    """Text that every encoder takes: halves of surrogate pairs joined or replaced, no control characters."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\r\n", "\n").translate(_CONTROLS).strip()


def _images(job: Job) -> Iterator[PageImage]:
    pdfium: Any = importlib.import_module("pypdfium2")
    try:
        document = pdfium.PdfDocument(job.data)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium.raw.FPDF_ERR_PASSWORD:
            raise ContentError(_ENCRYPTED) from None
        raise
    _check_count(len(document), job)
    for number in range(len(document)):
        width, height = document.get_page_size(number)
        if not _fits(width, height, job.max_pixels) and _shows_text(pdfium, document[number]):
            raise _illegible(number + 1, width, height, job.max_pixels)
    for number in range(len(document)):
        page = document[number]
        _check_pictures(pdfium, page, number + 1, job.max_image_pixels)
        width, height = page.get_size()
        bitmap = page.render(scale=scale_of(width, height, job.max_pixels))
        yield encode(bitmap.to_pil())
        bitmap.close()
        page.close()


def _fits(width: float, height: float, max_pixels: int) -> bool:
    return _needed(width, height) <= max_pixels


def _needed(width: float, height: float) -> int:
    return math.ceil(width * MIN_DPI / 72) * math.ceil(height * MIN_DPI / 72)


def _shows_text(pdfium: Any, page: Any) -> bool:
    """Whether a page has letters of its own.

    The size in points says nothing about a page that is a picture only: programs that make a PDF of a photo
    or a scan give each of its pixels a point, and what was recognised in it lies there unseen.
    """
    raw = pdfium.raw
    found = page.get_objects(filter=[raw.FPDF_PAGEOBJ_TEXT])
    return any(
        raw.FPDFTextObj_GetTextRenderMode(each.raw) != raw.FPDF_TEXTRENDERMODE_INVISIBLE for each in found
    )


def _illegible(number: int, width: float, height: float, max_pixels: int) -> ContentError:
    dots = int(72 * scale_of(width, height, max_pixels))
    return ContentError(
        f"page {number} is {width:.0f} x {height:.0f} points large, and in {max_pixels} pixels "
        f"(documents.max_pixels) it would have {dots} dots per inch: {MIN_DPI} are needed to read it, "
        f"which take {_needed(width, height)} pixels"
    )


def _check_pictures(pdfium: Any, page: Any, number: int, max_pixels: int) -> None:
    """Looks at how large the pictures of a page are before any is unpacked."""
    for picture in page.get_objects(filter=[pdfium.raw.FPDF_PAGEOBJ_IMAGE]):
        width, height = max(picture.get_px_size(), _jpeg_2000_size(picture), key=math.prod)
        if width * height > max_pixels:
            raise ContentError(
                f"a picture on page {number} has {width} x {height} pixels, more than {max_pixels} "
                "(documents.max_image_pixels)"
            )


def _jpeg_2000_size(picture: Any) -> tuple[int, int]:
    """How large a JPEG 2000 picture says that it is: it is unpacked in that size, whatever the PDF says."""
    filters = picture.get_filters()
    if "JPXDecode" not in filters:
        return 0, 0
    # behind another filter it is packed once more
    data = bytes(picture.get_data(decode_simple=len(filters) > 1))
    found = _JPEG_2000.search(data)
    return _SIZE.unpack(found[1]) if found else (0, 0)


def scale_of(width: float, height: float, max_pixels: int) -> float:
    """Pixels per point, so that a page, whose sides are rounded up, stays inside the limit."""
    scale = min(_MAX_SCALE, math.sqrt(max_pixels / (width * height)))
    while (
        scale * max(width, height) > 1 and math.ceil(width * scale) * math.ceil(height * scale) > max_pixels
    ):
        scale *= 0.99
    return scale


def encode(image: Any) -> PageImage:
    """The smaller one of PNG and, for what is large, JPEG."""
    png = io.BytesIO()
    image.save(png, "PNG")
    if png.tell() <= _LARGE_PNG:
        return PageImage("image/png", png.getvalue())
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    if png.tell() <= jpeg.tell():
        return PageImage("image/png", png.getvalue())
    return PageImage("image/jpeg", jpeg.getvalue())
