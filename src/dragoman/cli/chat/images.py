"""Images on their way into a message: by their path, checked before anything is sent."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from dragoman.translate.images import MAX_IMAGE_BYTES

# How files of each kind begin; WebP has its size between the two halves.
_BEGINNINGS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
# Only a path with one of these endings is meant by `@`: names of people and decorators stay what they are.
_MENTION = re.compile(
    r"""(?<!\S)@(?:"([^"]+)"|(\S+\.(?:png|jpe?g|gif|webp)))(?=[\s.,;:!?)]|$)""", re.IGNORECASE
)

Block = dict[str, Any]


class ImageError(Exception):
    """A file that cannot be sent as an image; the text names it and says why."""


def image_block(path: str) -> Block:
    """The content block of an image file."""
    try:
        data = Path(path).expanduser().read_bytes()
    except FileNotFoundError:
        raise ImageError(f"there is no file {path}") from None
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:
        # a user who has no home, or a character that no path has
        raise ImageError(f"cannot read {path}: {error}") from error
    found = [media_type for beginning, media_type in _BEGINNINGS if beginning.match(data)]
    if not found:
        raise ImageError(f"{path} is no image that can be sent: it must be PNG, JPEG, GIF or WebP")
    if len(data) > MAX_IMAGE_BYTES:
        most = MAX_IMAGE_BYTES // 1024**2
        raise ImageError(
            f"{path} is too large: {len(data) / 1024**2:.1f} MB, and an image may have {most} MB"
        )
    source = {"type": "base64", "media_type": found[0], "data": base64.b64encode(data).decode()}
    return {"type": "image", "source": source}


def mentioned(text: str) -> list[str]:
    """The paths of the images that a message names as `@path`, or as `@"a path with spaces"`."""
    return [quoted or plain for quoted, plain in _MENTION.findall(text)]
