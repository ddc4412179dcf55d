"""Images: sources, limits, and models that cannot see."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from dragoman.translate.images import IMAGE_NOTE, MAX_IMAGE_BYTES
from tests.support.translation import (
    PNG,
    able_but,
    assistant,
    call,
    chat,
    image,
    plain,
    result,
    text,
    translated,
    user,
)

BLIND = able_but(images=False)


def by(source: dict[str, Any]) -> dict[str, Any]:
    """An image block with this source."""
    return {"type": "image", "source": source}


def by_url(url: str) -> dict[str, Any]:
    """An image block with an address."""
    return by({"type": "url", "url": url})


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp"])
def test_base64_becomes_a_data_uri(kind: str) -> None:
    assert plain(chat(user(image(media_type=f"image/{kind}")))) == [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{PNG}"}}],
        }
    ]


def test_text_and_images_keep_their_order() -> None:
    content = plain(chat(user(text("a"), text("b"), image(), text("c"), image(), image(), text(""))))[0][
        "content"
    ]
    assert [part.get("text", "image") for part in content] == ["a\nb", "image", "c", "image", "image"]


@pytest.mark.timeout(30)  # minutes, if each block were joined to all those before it
def test_very_many_blocks_beside_an_image_are_joined_at_once() -> None:
    words = ["x" * 500] * 50_000
    content = plain(chat(user(*map(text, words), image())))[0]["content"]
    assert content[0]["text"] == "\n".join(words)
    assert len(content) == 2


def test_line_breaks_inside_base64_go() -> None:
    assert chat(user(image(f"{PNG[:4]}\r\n{PNG[4:]}\n"))) == chat(user(image()))


@pytest.mark.parametrize("url", ["https://example.org/a.png", "HTTP://example.org/a.png"])
def test_an_address_is_the_engines_to_fetch(url: str) -> None:
    assert plain(chat(user(by_url(url))))[0]["content"][0]["image_url"]["url"] == url


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (image(""), "source.data: image cannot be empty"),
        (image(" \n"), "source.data: image cannot be empty"),
        (image("not base64!"), "source.data: Input should be valid base64"),
        (image("é"), "source.data: Input should be valid base64"),
        (image(f"data:image/png;base64,{PNG}"), "source.data: Input should be valid base64"),
        (image(media_type="image/tiff"), "source.media_type: Input should be one of image/jpeg"),
        (by_url("file:///a.png"), "source.url: Input should be an http or https address"),
        (by_url(""), "source.url: Input should be an http or https address"),
        (by({"type": "file", "file_id": "file_a"}), "source: file sources are not available"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_by_path(block: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        chat(user(text("a"), block))
    assert refused.value.message.startswith(f"messages.0.content.1.{path}")


def test_an_image_has_a_largest_size() -> None:
    fits = base64.b64encode(bytes(MAX_IMAGE_BYTES)).decode("ascii")
    assert len(chat(user(image(fits)))) == 1
    larger = base64.b64encode(bytes(MAX_IMAGE_BYTES + 1)).decode("ascii")
    with pytest.raises(InvalidRequestError, match=r"^messages.0.content.0.source.data: image exceeds 10 MB"):
        chat(user(image(larger)))


def test_addresses_can_be_refused_by_setting() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages.0.content.0.source: images by url"):
        chat(user(by_url("https://example.org/a.png")), image_urls="refuse")
    assert len(chat(user(image()), image_urls="refuse")) == 1


@pytest.mark.parametrize("block", [image(), by_url("https://example.org/a.png")])
def test_a_model_that_cannot_see_refuses_by_path(block: dict[str, Any]) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^messages.0.content.1: the model 'served' does not take images"
    ):
        chat(user(text("a"), block), capabilities=BLIND)
    with pytest.raises(InvalidRequestError, match=r"^messages.2.content.0.content.1: the model 'served'"):
        chat(user("a"), assistant(call()), user(result(content=[text("b"), block])), capabilities=BLIND)


def test_a_model_that_cannot_see_gets_a_visible_note_by_setting() -> None:
    turns = [user(text("a"), image()), assistant(call()), user(result(content=[text("b"), image()]))]
    translation = translated({"capabilities": BLIND, "text_only_images": "note"}, messages=turns)
    assert [message.content for message in translation.chat.messages] == [
        f"a\n{IMAGE_NOTE}",
        None,
        f"b\n{IMAGE_NOTE}",
    ]
    assert translation.notes == ("images replaced by a note, the model does not take them: 2",)
