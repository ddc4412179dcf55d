"""Field cases, part F: tool results, images and documents."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from tests.server.conftest import Serve
from tests.server.http import REQUEST, ask, error_of
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
    text,
    user,
)

SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


def after(*blocks: Any, calls: int = 1) -> list[dict[str, Any]]:
    """What follows an assistant turn with calls a, b, ... when these blocks answer it."""
    made = [call(f"toolu_{letter}", "Read") for letter in "abc"[:calls]]
    return plain(chat(user("go"), assistant(*made), user(*blocks)))[2:]


def refused(*turns: Any) -> str:
    """The message of the refusal of a conversation."""
    with pytest.raises(InvalidRequestError) as error:
        chat(*turns)
    return error.value.message


def test_case_f88_the_result_names_its_call_by_tool_use_id() -> None:
    assert after(result("toolu_a", "ok"))[0]["tool_call_id"] == "toolu_a"


def test_case_f89_a_list_is_its_texts_not_its_spelling() -> None:
    assert after(result("toolu_a", [text("one"), text("two")]))[0]["content"] == "one\ntwo"


def test_case_f90_f102_an_image_in_a_result_reaches_the_model_in_a_user_turn() -> None:
    tool_turn, shown = after(result("toolu_a", [image()]))
    assert isinstance(tool_turn["content"], str)
    assert (shown["role"], shown["content"][1]) == ("user", SHOWN)


def test_case_f91_tool_turns_stay_side_by_side() -> None:
    found = after(result("toolu_a", [image()]), result("toolu_b", "ok"), calls=2)
    assert [message["role"] for message in found] == ["tool", "tool", "user"]


def test_case_f92_f93_text_before_and_after_results_keeps_its_order_behind_them() -> None:
    found = after(text("before"), result("toolu_a"), text("after"))
    assert [message["content"] for message in found] == ["ok", "before\nafter"]


def test_case_f94_base64_is_a_data_uri() -> None:
    assert plain(chat(user(image())))[0]["content"] == [SHOWN]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ({"type": "base64", "media_type": "image/png", "data": ""}, "data"),
        ({"type": "base64", "media_type": "image/bmp", "data": PNG}, "media_type"),
    ],
)
def test_case_f95_an_empty_or_unknown_source_is_refused_by_path(source: Any, path: str) -> None:
    words = refused(user({"type": "image", "source": source}))
    assert words.startswith(f"messages.0.content.0.source.{path}: ")


def test_case_f95_a_source_without_media_type_is_refused(serve: Serve) -> None:
    block = {"type": "image", "source": {"type": "base64", "data": PNG}}
    reply = ask(serve().url, REQUEST | {"messages": [user(block)]})
    assert reply.status_code == 400
    assert error_of(reply)["message"].startswith("messages.0.content.0.source.media_type: ")


def test_case_f95_an_address_is_accepted() -> None:
    block = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    assert plain(chat(user(block)))[0]["content"][0]["image_url"]["url"] == "https://example.org/a.png"


def test_case_f96_a_model_that_cannot_see_names_the_block(serve: Serve) -> None:
    served = serve(capabilities=able_but(images=False))
    reply = ask(served.url, REQUEST | {"messages": [user(text("look"), image())]})
    assert reply.status_code == 400
    assert error_of(reply)["message"].startswith("messages.0.content.1: ")


def test_case_f97_an_error_is_visible() -> None:
    assert after(result("toolu_a", "no such file", is_error=True))[0]["content"] == "[error] no such file"


@pytest.mark.parametrize("content", [..., None, [], "", [text("")]])
def test_case_f98_nothing_is_the_empty_string(content: Any) -> None:
    assert after(result("toolu_a", content))[0]["content"] == ""


def test_case_f99_a_pdf_that_nothing_resolved_is_refused_not_dropped() -> None:
    block = document({"type": "base64", "media_type": "application/pdf", "data": "AA=="})
    assert refused(user(block)).startswith("messages.0.content.0.source: PDF documents")
    inside = [user("go"), assistant(call()), user(result(content=[block]))]
    assert refused(*inside).startswith("messages.2.content.0.content.0.source: PDF documents")


def test_case_f101_search_results_and_documents_in_results_reach_the_model() -> None:
    block = search_result("found", source="https://example.org", title="T")
    expected = '<search_result source="https://example.org" title="T">\nfound\n</search_result>'
    assert plain(chat(user(block)))[0]["content"] == expected
    (tool_turn,) = after(result("toolu_a", [text("a"), document("words"), block]))
    assert tool_turn["content"] == f"a\n<document>\nwords\n</document>\n{expected}"


@pytest.mark.parametrize("url", ["/srv/a.png", "file:///srv/a.png", "ftp://example.org/a.png"])
def test_case_f100_a_path_on_this_machine_is_no_image(url: str) -> None:
    words = refused(user({"type": "image", "source": {"type": "url", "url": url}}))
    assert words.startswith("messages.0.content.0.source.url: ")


def test_case_f103_blocks_have_no_members_of_other_types() -> None:
    assert plain(chat(user(text("a")), assistant(text("b")), user("c")))[1] == {
        "role": "assistant",
        "content": "b",
    }


def test_case_f104_empty_text_in_the_history_is_tolerated() -> None:
    turns = [user("a"), assistant(text(""), text("b"), text("")), user(text(""), text("c"))]
    assert chat(*turns) == chat(user("a"), assistant("b"), user("c"))
