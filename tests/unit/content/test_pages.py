"""Reading PDFs: what each page gives, and what is refused."""

from __future__ import annotations

import io
import math
from typing import Any

import msgspec
import pypdf
import pytest
from PIL import Image

from dragoman.content import pages
from dragoman.content.pages import Job, PageImage, PageText, clean, encode, read_pages, scale_of
from dragoman.content.refusal import ContentError
from dragoman.content.worker import Pages, Refused, outcome_of
from tests.support.pdfs import SCAN, encrypted, pdf

THREE = pdf("Hello (world) \\ ü\nand more", SCAN, "The last page")


def job(data: bytes, **changes: Any) -> Job:
    whole = Job(
        data=data, images=False, max_pages=10, max_pixels=40_000, max_image_pixels=1_000_000, seconds=60
    )
    return msgspec.structs.replace(whole, **changes)


def test_text() -> None:
    texts = ["Hello (world) \\ ü\nand more", "", "The last page"]
    assert read_pages(job(THREE)) == [PageText(text) for text in texts]


def test_images() -> None:
    found = read_pages(job(THREE, images=True))
    pictures = [Image.open(io.BytesIO(page.data)) for page in found if isinstance(page, PageImage)]
    assert [(picture.format, picture.size) for picture in pictures] == [("PNG", (200, 200))] * 3
    # the four pixels of the scan, on white
    assert len(set(pictures[1].convert("L").tobytes())) == 5


@pytest.mark.parametrize("images", [False, True])
def test_the_same_bytes_give_the_same_pages(images: bool) -> None:
    assert read_pages(job(THREE, images=images)) == read_pages(job(THREE, images=images))


@pytest.mark.parametrize("images", [False, True])
def test_a_restricted_pdf_opens_and_a_locked_one_does_not(images: bool) -> None:
    assert len(read_pages(job(encrypted(THREE, ""), images=images))) == 3
    with pytest.raises(ContentError, match="needs a password"):
        read_pages(job(encrypted(THREE, "secret"), images=images))


@pytest.mark.parametrize("images", [False, True])
def test_the_limit_of_pages(images: bool) -> None:
    with pytest.raises(ContentError, match=r"3 pages, more than 2 \(documents.max_pages\)"):
        read_pages(job(THREE, images=images, max_pages=2))


@pytest.mark.parametrize("images", [False, True])
def test_the_limit_of_what_comes_out(images: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_OUTPUT", 20)
    with pytest.raises(ContentError, match="more than 20 bytes as"):
        read_pages(job(THREE, images=images))


def test_no_pages() -> None:
    with pytest.raises(ContentError, match="no pages"):
        read_pages(job(pdf()))


def test_what_unpacks_to_too_much() -> None:
    few = pypdf.apply_configuration(zlib_maximum_output_length=1000)
    with few, pytest.raises(ContentError, match="unpacks to more"):
        read_pages(job(pdf("a" * 5000)))


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7\n", THREE[:400], b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_whole_pdf(data: bytes, images: bool) -> None:
    assert outcome_of(job(data, images=images)) == Refused("it is broken, or no PDF")


def test_outcomes() -> None:
    assert outcome_of(job(pdf("Hi"))) == Pages([PageText("Hi")])
    assert outcome_of(job(THREE, max_pages=1)) == Refused("it has 3 pages, more than 1 (documents.max_pages)")


def test_memory_is_no_fault_of_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(_job: Job) -> list[pages.Page]:
        raise MemoryError

    monkeypatch.setattr("dragoman.content.worker.read_pages", exhaust)
    with pytest.raises(MemoryError):
        outcome_of(job(THREE))


def test_texts_can_be_encoded() -> None:
    assert clean(" a\x00b\r\nc\rd\x0ce\ud83d\ude00f\ud800 ") == "a�b\nc\nd\ne😀f�"


@pytest.mark.parametrize("size", [(612, 792), (10, 10), (14_400, 14_400), (1, 100_000), (0.01, 0.01)])
@pytest.mark.parametrize("max_pixels", [1, 1000, 1_200_000])
def test_pages_fit(size: tuple[float, float], max_pixels: int) -> None:
    width, height = size
    scale = scale_of(width, height, max_pixels)
    drawn = math.ceil(width * scale) * math.ceil(height * scale)
    assert 0 < scale <= 300 / 72
    assert drawn <= max_pixels


def test_photographs_are_jpeg_and_drawings_png() -> None:
    noise = Image.effect_noise((800, 800), 100).convert("RGB")
    assert encode(noise).media_type == "image/jpeg"
    assert encode(Image.new("RGB", (800, 800), "white")).media_type == "image/png"
    # a fine pattern is a large PNG and a larger JPEG
    checks = Image.frombytes("L", (8, 8), bytes(0 if (i * 7919) % 3 else 255 for i in range(64)))
    wide = Image.new("L", (4000, 4000))
    wide.paste(checks.resize((4000, 4000), Image.Resampling.NEAREST))
    assert encode(wide).media_type == "image/png"
