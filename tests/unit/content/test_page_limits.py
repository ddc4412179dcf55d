"""What of a page may not be drawn: one of which too little would be seen, and pictures that are too large."""

from __future__ import annotations

import io
import zlib
from typing import Any

import msgspec
import pytest
from PIL import Image

from dragoman.content.pages import Job, PageImage, PageText, read_pages
from dragoman.content.refusal import ContentError
from tests.support.pdfs import SCAN, jpeg_2000, pdf, picture_object

A4 = (595, 842)
A0 = (2384, 3370)
FEW = zlib.compress(bytes(12))


PACKED_TWICE = picture_object(64, 64, zlib.compress(jpeg_2000(30_000, 30_000)), "FlateDecode JPXDecode")


def job(data: bytes, **changes: Any) -> Job:
    whole = Job(
        data=data, images=True, max_pages=10, max_pixels=1_200_000, max_image_pixels=1_000_000, seconds=60
    )
    return msgspec.structs.replace(whole, **changes)


def drawn(data: bytes, **changes: Any) -> list[tuple[int, int]]:
    """The sizes of the pictures of the pages."""
    pages = read_pages(job(data, **changes))
    return [Image.open(io.BytesIO(page.data)).size for page in pages if isinstance(page, PageImage)]


def test_a_large_page_is_drawn_smaller() -> None:
    # A2 in 55 DPI
    ((width, height),) = drawn(pdf("Hello", size=(1191, 1684)))
    assert 1_150_000 < width * height <= 1_200_000


def test_a_page_is_drawn_with_as_few_dots_as_can_be_read() -> None:
    assert drawn(pdf("Hello", size=(200, 200)), max_pixels=10_000) == [(100, 100)]
    with pytest.raises(ContentError, match="page 1 "):
        drawn(pdf("Hello", size=(200, 200)), max_pixels=9_801)


def test_a_page_that_could_not_be_read_is_refused_with_its_number_and_size() -> None:
    with pytest.raises(ContentError) as caught:
        drawn(pdf("One", "Two", "Three", size=A4, sizes={2: A0}))
    assert caught.value.message == (
        "page 2 is 2384 x 3370 points large, and in 1200000 pixels (documents.max_pixels) it would have 27 "
        "dots per inch: 36 are needed to read it, which take 2008520 pixels"
    )


def test_the_words_of_a_page_of_any_size_are_read() -> None:
    assert read_pages(job(pdf("Hello", size=A0), images=False)) == [PageText("Hello")]


def test_a_scan_whose_page_has_a_point_for_each_pixel_is_drawn() -> None:
    scan = io.BytesIO()
    Image.new("L", (2480, 3508)).save(scan, "PDF")
    ((width, height),) = drawn(scan.getvalue(), max_image_pixels=10_000_000)
    assert 1_100_000 < width * height <= 1_200_000


def test_with_more_pixels_the_same_page_is_drawn() -> None:
    assert drawn(pdf("Hello", size=A0), max_pixels=2_008_520) == [(1192, 1685)]


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        (picture_object(1001, 1000, FEW), "1001 x 1000"),
        (picture_object(100_000, 100_000, FEW), "100000 x 100000"),
        (picture_object(2**31 - 1, 2**31 - 1, FEW), "2147483647 x 2147483647"),
        # what it says in the PDF is not what it is
        (picture_object(64, 64, jpeg_2000(1001, 1000), "JPXDecode"), "1001 x 1000"),
        (picture_object(64, 64, jpeg_2000(30_000, 30_000), "JPXDecode"), "30000 x 30000"),
        # nor is it to be seen before it is unpacked
        (PACKED_TWICE, "30000 x 30000"),
    ],
)
def test_a_picture_with_too_many_pixels_is_refused(picture: bytes, size: str) -> None:
    with pytest.raises(ContentError) as caught:
        drawn(pdf("One", SCAN, picture=picture))
    assert caught.value.message == (
        f"a picture on page 2 has {size} pixels, more than 1000000 (documents.max_image_pixels)"
    )


def test_a_picture_inside_the_limit_is_drawn() -> None:
    picture = picture_object(1000, 1000, zlib.compress(bytes(3_000_000)))
    assert len(drawn(pdf("One", SCAN, picture=picture))) == 2


def test_pictures_do_not_matter_where_only_words_are_read() -> None:
    picture = picture_object(100_000, 100_000, FEW)
    assert read_pages(job(pdf("One", SCAN, picture=picture), images=False)) == [PageText("One"), PageText("")]
