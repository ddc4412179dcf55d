"""What bytes are: images and PDFs by how they begin, text by what they are called."""

from __future__ import annotations

import codecs

from dragoman.content.refusal import ContentError

PDF = "application/pdf"
# A PDF may have some rubbish before its head.
_PDF_HEAD_WITHIN = 1024
_TEXTS = frozenset(
    {
        "application/json",
        "application/jsonl",
        "application/x-ndjson",
        "application/xml",
        "application/yaml",
        "application/x-yaml",
        "application/toml",
        "application/javascript",
        "application/x-sh",
        "application/sql",
        "application/csv",
    }
)
# Codecs of Python alone: some take hours for a few megabytes, some give what no encoder takes.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def image_type(data: bytes) -> str | None:
    """The media type of an image that a model may take; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def is_pdf(data: bytes) -> bool:
    """Whether bytes begin as a PDF does."""
    return b"%PDF-" in data[:_PDF_HEAD_WITHIN]


def is_text(media_type: str) -> bool:
    """Whether a media type is one of text."""
    return media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml"))


def text_of(data: bytes, charset: str = "") -> str:
    """The text that bytes hold: by their byte order mark, else as said, else UTF-8."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            data, charset = data[len(mark) :], name
            break
    try:
        return data.decode(charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise ContentError(f"it is no text in {charset or 'utf-8'}") from None


def charset_of_text(name: str) -> str:
    """The charset that a server names; "" for what no text of the web is in, and may not be decoded."""
    try:
        return "" if codecs.lookup(name).name in _NO_CHARSETS else name
    except LookupError:
        return name
