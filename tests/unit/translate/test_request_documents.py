"""Documents and search results: in place, in order, between tags that name them."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from dragoman.translate.images import IMAGE_NOTE
from tests.support.translation import (
    PNG,
    able_but,
    assistant,
    call,
    chat,
    document,
    image,
    plain,
    result,
    search_result,
    system,
    text,
    translated,
    user,
)

SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
OTHER = "iVBORw0KGgpY"
OTHER_SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{OTHER}"}}


def said(*blocks: Any, **changes: Any) -> Any:
    """The content of a user turn of these blocks."""
    return plain(chat(user(*blocks), **changes))[0]["content"]


def refused(*turns: Any, **changes: Any) -> str:
    """The message of the refusal of a conversation."""
    with pytest.raises(InvalidRequestError) as error:
        chat(*turns, **changes)
    return error.value.message


@pytest.mark.parametrize(
    "source",
    [
        "words",
        [text("words")],
        {"type": "content", "content": "words"},
        [text(""), text("words"), text("")],
    ],
)
def test_a_document_is_its_text_between_tags(source: Any) -> None:
    assert said(document(source)) == "<document>\nwords\n</document>"


@pytest.mark.parametrize("source", ["", [], [text("")], {"type": "content", "content": ""}])
def test_an_empty_document_is_still_seen(source: Any) -> None:
    assert said(document(source)) == "<document>\n</document>"


def test_title_and_context_are_in_the_tag_and_cannot_end_it() -> None:
    block = document(title='"A" & <B>', context="in\nshort")
    expected = '<document title="&quot;A&quot; &amp; &lt;B&gt;" context="in\nshort">\nwords\n</document>'
    assert said(block) == expected


def test_what_has_no_effect_leaves_no_trace() -> None:
    plain_one = document(title="T")
    marked = plain_one | {
        "context": None,
        "citations": {"enabled": True},
        "cache_control": {"type": "ephemeral"},
    }
    assert said(marked) == said(plain_one)


def test_documents_stand_among_the_texts_of_a_turn() -> None:
    assert said(text("a"), document("b"), text("c"), document("d")) == (
        "a\n<document>\nb\n</document>\nc\n<document>\nd\n</document>"
    )


def test_images_keep_their_place_in_a_document() -> None:
    pages = [text("page 1"), image(), text("page 2"), image(OTHER)]
    assert said(text("look"), document(pages), text("well?")) == [
        {"type": "text", "text": "look\n<document>\npage 1"},
        SHOWN,
        {"type": "text", "text": "page 2"},
        OTHER_SHOWN,
        {"type": "text", "text": "</document>\nwell?"},
    ]


def test_in_a_result_images_are_labels_and_follow_in_the_user_turn() -> None:
    pages = [text("page 1"), image(OTHER), text("page 2")]
    answer = result(content=[image(), document(pages, title="T"), text("end")])
    tool_turn, shown = plain(chat(user("go"), assistant(call(name="Read")), user(answer)))[2:]
    assert tool_turn["content"] == (
        '[image 1]\n<document title="T">\npage 1\n[image 2]\npage 2\n</document>\nend'
    )
    origin = f"from the result of Read (call {tool_turn['tool_call_id']}):"
    assert shown["content"] == [
        {"type": "text", "text": f"[image 1] {origin}"},
        SHOWN,
        {"type": "text", "text": f"[image 2] {origin}"},
        OTHER_SHOWN,
    ]


def test_a_model_that_cannot_see_names_the_image_in_the_document() -> None:
    block = document([text("a"), image()])
    blind = able_but(images=False)
    path = "messages.0.content.0.source.content.1: "
    assert refused(user(block), capabilities=blind).startswith(path)
    inside = [user("go"), assistant(call()), user(result(content=[block]))]
    path = "messages.2.content.0.content.0.source.content.1: "
    assert refused(*inside, capabilities=blind).startswith(path)
    noted = said(block, capabilities=blind, text_only_images="note")
    assert noted == f"<document>\na\n{IMAGE_NOTE}\n</document>"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
            ": PDF documents are not available here; send their text",
        ),
        (
            {"type": "base64", "media_type": "text/html", "data": "AA=="},
            ".media_type: Input should be application/pdf (a base64 source) or text/plain (a text source)",
        ),
        (
            {"type": "text", "media_type": "text/html", "data": "a"},
            ".media_type: Input should be text/plain",
        ),
        (
            {"type": "url", "url": "https://example.org/a.pdf"},
            ": documents by url are not available here; send their text",
        ),
        ({"type": "file", "file_id": "file_a"}, ": file sources are not available on this server"),
        ([text("a"), {"type": "image", "source": {"type": "file", "file_id": "f"}}], ".content.1.source: "),
    ],
)
def test_what_no_stage_resolved_is_refused_by_path(source: Any, words: str) -> None:
    assert refused(user(text("a"), document(source))).startswith(f"messages.0.content.1.source{words}")
    inside = [user("go"), assistant(call()), user(result(content=[document(source)]))]
    assert refused(*inside).startswith(f"messages.2.content.0.content.0.source{words}")


# --- search results ---


def test_a_search_result_is_its_texts_with_source_and_title() -> None:
    block = search_result("one", "", "two", source="https://example.org/?a=1&b=2", title="<T>")
    expected = (
        '<search_result source="https://example.org/?a=1&amp;b=2" title="&lt;T&gt;">\n'
        "one\ntwo\n</search_result>"
    )
    assert said(block) == expected
    marked = block | {"citations": {"enabled": True}}
    found = chat(user("go"), assistant(call()), user(result(content=[marked])))
    assert found[2].content == expected


# --- documents in other roles ---


@pytest.mark.parametrize("version", ["", "2023-06-01"])
def test_an_assistant_turn_holds_them_as_lines_under_the_older_version(version: str) -> None:
    turn = assistant(text("Here:"), document("a", title="T"), search_result("b"), text("Done."))
    assert chat(user("x"), turn, user("y"), api_version=version)[1].content == (
        'Here:\n<document title="T">\na\n</document>\n'
        '<search_result source="s" title="t">\nb\n</search_result>\nDone.'
    )


@pytest.mark.parametrize("version", ["2026-10-21", "2027-01-01"])
def test_the_newer_version_refuses_a_document_of_an_assistant(version: str) -> None:
    words = refused(user("x"), assistant(text("a"), document()), user("y"), api_version=version)
    assert words == "messages.1.content.1: document blocks are not allowed in assistant turns"


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (image(), "messages.1.content.1: image blocks are not allowed in assistant turns"),
        (
            document([image()]),
            "messages.1.content.1.source: images are not allowed in assistant turns",
        ),
    ],
)
def test_no_image_stands_in_an_assistant_turn(block: Any, path: str) -> None:
    assert refused(user("x"), assistant(text("a"), block), user("y")) == path


@pytest.mark.parametrize("block", [document(), search_result("a")])
def test_a_system_turn_holds_text_only(block: Any) -> None:
    words = refused(user("x"), system(text("a"), block))
    assert words == f"messages.1.content.1: {block['type']} blocks are not allowed in system turns"


# --- citations of users ---

CITED = text("a", citations=[{"type": "char_location"}])


def test_citations_of_a_user_are_refused_by_the_newer_version_in_strict_mode_only() -> None:
    words = refused(user(text("b"), CITED), api_version="2026-10-21", strict=True)
    assert words == "messages.0.content.1.citations: Extra inputs are not permitted"
    loose = {"api_version": "2026-10-21"}, {"strict": True}, {"strict": True, "api_version": "2023-06-01"}
    assert [said(CITED, **changes) for changes in loose] == ["a", "a", "a"]


@pytest.mark.parametrize("citations", [None, []])
def test_no_citations_are_none_in_strict_mode_either(citations: Any) -> None:
    strict = {"api_version": "2026-10-21", "strict": True}
    assert said(text("a", citations=citations), text("b"), **strict) == "a\nb"
    turns = [user("x"), assistant(CITED), user("y")]
    assert translated(strict, messages=turns).chat.messages[1].content == "a"
