"""PDF files, written by hand: as small as they can be."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import pypdf
from PIL import Image

SCAN = object()
"""A page that is one picture, without text."""


def pdf(
    *pages: object,
    size: tuple[int, int] = (200, 200),
    sizes: Mapping[int, tuple[int, int]] | None = None,
    picture: bytes = b"",
) -> bytes:
    """A PDF with a page for each text, and pages that are a picture for `SCAN`.

    size: of each page in points; `sizes` has others, by the page's number. picture: a `picture_object`.
    """
    kids = [5 + 2 * number for number in range(len(pages))]
    objects: dict[int, bytes] = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] /Count {len(kids)} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        4: picture or picture_object(2, 2, zlib.compress(bytes(range(0, 240, 20)))),
    }
    for number, (kid, page) in enumerate(zip(kids, pages, strict=True), 1):
        width, height = (sizes or {}).get(number, size)
        objects[kid] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents {kid + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> /XObject << /I1 4 0 R >> >> >>"
        ).encode()
        objects[kid + 1] = _stream(_drawn(page))
    return _file(objects)


def picture_object(width: int, height: int, data: bytes, packing: str = "FlateDecode") -> bytes:
    """A picture inside a PDF, of so many pixels as it says itself; `data` may be of others."""
    filters = " ".join(f"/{name}" for name in packing.split())
    keys = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB "
        f"/BitsPerComponent 8 /Filter [{filters}] /Length {len(data)}"
    )
    return f"<< {keys} >>\nstream\n".encode() + data + b"\nendstream"


def jpeg_2000(width: int, height: int) -> bytes:
    """A JPEG 2000 file of some bytes that says that it has so many pixels."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG2000")
    data, size = bytearray(out.getvalue()), struct.pack(">II", width, height)
    start = data.index(b"\xff\x4f\xff\x51")
    # after the marks, the segment's length and its profile: the whole, and, past the offset, one tile
    for place in (start + 8, start + 24):
        data[place : place + 8] = size
    return bytes(data)


def _drawn(page: object) -> bytes:
    if page is SCAN:
        return b"q 180 0 0 180 10 10 cm /I1 Do Q"
    lines = str(page).replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").split("\n")
    shown = " ".join(f"({line}) Tj 0 -16 Td" for line in lines)
    return f"BT /F1 12 Tf 10 180 Td {shown} ET".encode("cp1252")


def _stream(data: bytes, keys: str = "") -> bytes:
    packed = zlib.compress(data)
    head = f"<< {keys} /Filter /FlateDecode /Length {len(packed)} >>\nstream\n"
    return head.encode() + packed + b"\nendstream"


def _file(objects: dict[int, bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, value in sorted(objects.items()):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + value + b"\nendobj\n"
    table = len(out)
    entries = "".join(f"{place:010d} 00000 n \n" for place in places)
    out += f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{entries}".encode()
    out += f"trailer\n<< /Size {len(places) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)


def encrypted(data: bytes, password: str) -> bytes:
    """The same PDF under a password; an empty one only restricts its use."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def slow(commands: int = 400_000) -> bytes:
    """A small PDF that takes long to read: its one page says a letter again and again."""
    return pdf("\n".join(["a"] * commands))


def document(data: bytes, **keys: Any) -> dict[str, Any]:
    """A document block that holds a PDF."""
    encoded = base64.b64encode(data).decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded}
    return {"type": "document", "source": source, **keys}
