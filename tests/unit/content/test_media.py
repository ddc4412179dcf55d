"""Telling what bytes are."""

from __future__ import annotations

import pytest

from dragoman.content.media import image_type, is_pdf, is_text, text_of
from dragoman.content.refusal import ContentError


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"<svg/>", None),
        (b"", None),
    ],
)
def test_images(data: bytes, kind: str | None) -> None:
    assert image_type(data) == kind


def test_pdfs() -> None:
    assert is_pdf(b"%PDF-1.4")
    assert is_pdf(b"rubbish\n%PDF-1.4")
    assert not is_pdf(b"text about %PDF")


def test_kinds_of_text() -> None:
    kinds = ["text/csv", "application/json", "application/ld+json", "image/svg+xml", "application/zip", ""]
    assert [is_text(kind) for kind in kinds] == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ("Grüße".encode(), ""),
        ("Grüße".encode("utf-8-sig"), "latin-1"),
        ("Grüße".encode("utf-16"), ""),
        (b"\xfe\xff" + "Grüße".encode("utf-16-be"), ""),
        ("Grüße".encode("latin-1"), "latin-1"),
    ],
)
def test_texts(data: bytes, charset: str) -> None:
    assert text_of(data, charset) == "Grüße"


@pytest.mark.parametrize(("data", "charset"), [(b"\xff\xfb\x90", ""), (b"abc", "no-such-charset")])
def test_what_is_no_text(data: bytes, charset: str) -> None:
    with pytest.raises(ContentError, match="it is no text in"):
        text_of(data, charset)
