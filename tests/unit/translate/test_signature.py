"""Signatures: thinking comes home exactly, and nothing else passes for it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.translate.signature import OpenedThinking, Signer

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
NONCE = b"n" * 12
THOUGHT = "Let me see… 👩‍🚀\n"


def seal(text: str = THOUGHT, visible: bool = True, key: bytes = KEY) -> str:
    """A signature by one key."""
    return Signer([key]).seal(text, visible=visible, nonce=NONCE)


@given(st.text(), st.binary(min_size=12, max_size=12))
def test_a_visible_thought_comes_home(text: str, nonce: bytes) -> None:
    signer = Signer([KEY])
    signature = signer.seal(text, visible=True, nonce=nonce)
    assert signer.open(signature, text) == OpenedThinking("ours", text)


@given(st.text())
def test_an_omitted_thought_comes_home_from_its_signature(text: str) -> None:
    signature = seal(text, visible=False)
    assert Signer([KEY]).open(signature, "") == OpenedThinking("ours", text)
    assert Signer([KEY]).open(signature, text) == OpenedThinking("ours", text)


def test_the_text_cannot_be_read_from_a_signature() -> None:
    for visible in (True, False):
        assert THOUGHT.encode() not in base64.b64decode(seal(visible=visible))


def test_a_long_omitted_thought_is_compressed() -> None:
    assert len(seal("the same again. " * 1000, visible=False)) < 1000


@pytest.mark.parametrize("visible", [True, False])
def test_another_text_beside_the_signature_is_altered(visible: bool) -> None:
    assert Signer([KEY]).open(seal(visible=visible), "another") == OpenedThinking("altered", "another")


def test_a_visible_thought_without_its_text_is_altered() -> None:
    assert Signer([KEY]).open(seal(), "") == OpenedThinking("altered", "")


def test_text_that_is_no_unicode_is_altered() -> None:
    assert Signer([KEY]).open(seal(), "\ud800").kind == "altered"


@pytest.mark.parametrize("place", [5, 16, 17, -1])
@pytest.mark.parametrize("visible", [True, False])
def test_a_changed_byte_is_altered(place: int, visible: bool) -> None:
    sealed = bytearray(base64.b64decode(seal(visible=visible)))
    sealed[place] ^= 1
    changed = base64.b64encode(sealed).decode()
    assert Signer([KEY]).open(changed, THOUGHT) == OpenedThinking("altered", THOUGHT)


@pytest.mark.parametrize("place", [0, 1, 4])
def test_another_version_or_key_is_foreign(place: int) -> None:
    sealed = bytearray(base64.b64decode(seal()))
    sealed[place] ^= 1
    assert Signer([KEY]).open(base64.b64encode(sealed).decode(), THOUGHT).kind == "foreign"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "EqQBCgIYAhIM",
        "not base64!",
        "é",
        "AQ==",
        seal(key=OTHER),
        seal()[:20],
        base64.b64encode(b"\1" * 17).decode(),
    ],
)
def test_a_foreign_signature_keeps_the_blocks_text(signature: str) -> None:
    assert Signer([KEY]).open(signature, THOUGHT) == OpenedThinking("foreign", THOUGHT)


@given(st.text(), st.text())
def test_no_signature_raises(signature: str, thinking: str) -> None:
    assert Signer([KEY]).open(signature, thinking) == OpenedThinking("foreign", thinking)


def test_the_first_key_signs_and_old_ones_open() -> None:
    signer = Signer([OTHER, KEY])
    assert signer.open(seal(), THOUGHT).kind == "ours"
    assert Signer([KEY]).open(signer.seal(THOUGHT, visible=True, nonce=NONCE), THOUGHT).kind == "foreign"


def test_keys_and_nonces_have_their_sizes() -> None:
    for keys in ([], [b"short"], [KEY, b""]):
        with pytest.raises(ValueError, match="32 bytes"):
            Signer(keys)
    with pytest.raises(ValueError, match="12 bytes"):
        Signer([KEY]).seal("", visible=True, nonce=b"")
