"""Images by their path."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from dragoman.cli.chat.images import ImageError, image_block, mentioned

SAMPLES = {
    "image/png": b"\x89PNG\r\n\x1a\n....",
    "image/jpeg": b"\xff\xd8\xff\xe0....",
    "image/gif": b"GIF89a....",
    "image/webp": b"RIFF\n\0\0\0WEBPVP8 ",
}


@pytest.mark.parametrize("media_type", SAMPLES)
def test_the_kind_is_read_from_the_bytes_and_not_from_the_name(tmp_path: Path, media_type: str) -> None:
    file = tmp_path / "image.dat"
    file.write_bytes(SAMPLES[media_type])
    source = image_block(str(file))["source"]
    assert source["media_type"] == media_type
    assert base64.b64decode(source["data"]) == SAMPLES[media_type]


def test_a_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.gif").write_bytes(SAMPLES["image/gif"])
    assert image_block("~/a.gif")["type"] == "image"


def test_what_cannot_be_sent_is_said(tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    large = tmp_path / "large.png"
    large.write_bytes(SAMPLES["image/png"] + bytes(11 * 1024 * 1024))
    for path, words in (
        (tmp_path / "none.png", "there is no file "),
        (tmp_path, "cannot read .*: Is a directory"),
        (text, "is no image that can be sent: it must be PNG, JPEG, GIF or WebP"),
        (large, r"is too large: 11\.0 MB, and an image may have 10 MB"),
    ):
        with pytest.raises(ImageError, match=words):
            image_block(str(path))


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("What is in @cat.png?", ["cat.png"]),
        ("@a/b.JPG and @c.webp, please", ["a/b.JPG", "c.webp"]),
        ('Look at @"my cat.png".', ["my cat.png"]),
        ("mail me@here.png", []),
        ("@property\ndef x(self): ...", []),
        ("ask @ada about it", []),
    ],
)
def test_only_images_are_meant_by_an_at_sign(text: str, paths: list[str]) -> None:
    assert mentioned(text) == paths


@pytest.mark.parametrize("path", ["~nosuchuser/a.png", "a\0.png"])
def test_a_path_that_can_be_none_is_said(path: str) -> None:
    with pytest.raises(ImageError, match="cannot read "):
        image_block(path)
