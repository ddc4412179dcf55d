"""Images: from a block's source to the address that an engine reads."""

from __future__ import annotations

import binascii

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Findings, RequestOptions
from dragoman.wire.anthropic.blocks import Base64Source, FileSource, ImageBlock
from dragoman.wire.openai import ImagePart, ImageURL, Part, TextPart

MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# As the public API counts it: the decoded bytes of one image.
MAX_IMAGE_BYTES = 10 * 1024 * 1024
IMAGE_NOTE = "[an image was here; this model cannot see images]"


def image_part(block: ImageBlock, path: str, options: RequestOptions, findings: Findings) -> Part:
    """The part that carries an image, or a visible note where the settings put one for a text-only model."""
    source = block.source
    if isinstance(source, FileSource):
        raise InvalidRequestError(f"{path}.source: file sources are not available on this server")
    url = _data_uri(source, path) if isinstance(source, Base64Source) else _address(source.url, path, options)
    if options.capabilities.images:
        return ImagePart(ImageURL(url))
    if options.text_only_images == "refuse":
        raise InvalidRequestError(f"{path}: the model {options.model!r} does not take images")
    findings.note("images replaced by a note, the model does not take them")
    return TextPart(IMAGE_NOTE)


def _data_uri(source: Base64Source, path: str) -> str:
    if source.media_type not in MEDIA_TYPES:
        allowed = ", ".join(MEDIA_TYPES)
        raise InvalidRequestError(f"{path}.source.media_type: Input should be one of {allowed}")
    # Some encoders break lines, which no data URI may hold.
    data = "".join(source.data.split())
    if not data:
        raise InvalidRequestError(f"{path}.source.data: image cannot be empty")
    size = _decoded_size(data, path)
    if size > MAX_IMAGE_BYTES:
        raise InvalidRequestError(
            f"{path}.source.data: image exceeds {MAX_IMAGE_BYTES // 1024**2} MB maximum: "
            f"{size} bytes > {MAX_IMAGE_BYTES} bytes"
        )
    return f"data:{source.media_type};base64,{data}"


def _decoded_size(data: str, path: str) -> int:
    try:
        return len(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        raise InvalidRequestError(f"{path}.source.data: Input should be valid base64") from None


def _address(url: str, path: str, options: RequestOptions) -> str:
    if options.image_urls == "refuse":
        raise InvalidRequestError(f"{path}.source: images by url are not accepted here; send them as base64")
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidRequestError(f"{path}.source.url: Input should be an http or https address")
    return url
