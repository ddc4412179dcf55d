"""Which addresses a declaration lets through, and which a conversation has named."""

from __future__ import annotations

import tracemalloc

import pytest

from dragoman.server_tools.domains import is_allowed, was_named
from dragoman.translate.server_tools import ServerTool
from dragoman.wire.openai import ChatMessage, ImagePart, ImageURL, Part, TextPart


def tool(allowed: tuple[str, ...] | None = None, blocked: tuple[str, ...] = ()) -> ServerTool:
    return ServerTool(name="web_fetch", kind="web_fetch", allowed_domains=allowed, blocked_domains=blocked)


@pytest.mark.parametrize(
    ("url", "domain", "inside"),
    [
        ("https://a.example/", "a.example", True),
        ("https://A.Example./x", "a.example", True),
        ("https://www.a.example", "a.example", True),
        ("https://a.example:8443/", "a.example", True),
        ("https://user@a.example/", "a.example", True),
        ("https://nota.example/", "a.example", False),
        ("https://a.example.evil.example/", "a.example", False),
        ("https://evil.example/a.example", "a.example", False),
        ("https://a.example@evil.example/", "a.example", False),
        ("https://a.example/docs/x", "a.example/docs", True),
        ("https://a.example/news", "a.example/docs", False),
        ("https://a.example/en/docs/x", "a.example/*/docs", True),
        ("https://xn--bcher-kva.example/", "b\u00fccher.example", True),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example", True),
        ("https://a\u3002example/", "a.example", True),
        ("https://\u00fc" + "x" * 80 + ".example/", "a.example", False),
    ],
)
def test_a_domain_holds_what_lies_below_it(url: str, domain: str, inside: bool) -> None:
    assert is_allowed(url, tool(allowed=(domain,))) is inside
    assert is_allowed(url, tool(blocked=(domain,))) is not inside


@pytest.mark.parametrize("url", ["https://[broken", "https:///path", "mailto:x@a.example", "x"])
def test_an_address_without_a_host_is_shut_out_where_hosts_matter(url: str) -> None:
    assert not is_allowed(url, tool(allowed=("a.example",)))
    assert not is_allowed(url, tool(blocked=("a.example",)))
    assert is_allowed(url, tool())


def test_without_domains_everything_is_allowed() -> None:
    assert is_allowed("https://a.example/", tool())


def said(text: str, role: str = "user") -> list[ChatMessage]:
    return [ChatMessage(role=role, content=text)]  # type: ignore[arg-type]  # a role of the test's own


@pytest.mark.parametrize(
    ("text", "url", "named"),
    [
        ("Read https://a.example/x.", "https://a.example/x", True),
        ("(https://a.example/x), please", "https://a.example/x", True),
        ("[A](https://a.example/x)", "https://a.example/x", True),
        ('<a href="https://a.example/x">', "https://a.example/x", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/x#part", "https://a.example/x", True),
        ("https://a.example/x", "https://a.example/x#part", True),
        ("https://a.example/x_(y)", "https://a.example/x_(y)", True),
        ("https://a.example/x_(y).", "https://a.example/x_(y)", True),
        ("https://a.example/).", "https://a.example", True),
        ("https://a.example/x#)._", "https://a.example/x", True),
        ("https://a.example/x__", "https://a.example/x_", True),
        ("https://a.example/x__y", "https://a.example/x_", False),
        ("https://a.example/x", "https://a.example/", False),
        ("https://a.example/x", "https://a.example/x?leak=1", False),
        ("https://a.example/xy", "https://a.example/x", False),
        ("https://a.example.evil/", "https://a.example", False),
    ],
)
def test_an_address_counts_where_it_stands_as_a_whole(text: str, url: str, named: bool) -> None:
    assert was_named(url, said(text)) is named


def test_only_users_and_tools_name_addresses() -> None:
    url = "https://a.example/x"
    assert was_named(url, said(url, "tool"))
    assert not was_named(url, said(url, "assistant"))
    assert not was_named(url, said(url, "system"))
    assert not was_named(url, [ChatMessage(role="user")])


def test_texts_among_images_count() -> None:
    parts: list[Part] = [ImagePart(ImageURL("data:,")), TextPart("see https://a.example/x")]
    assert was_named("https://a.example/x", [ChatMessage(role="user", content=parts)])


def test_marks_without_end_are_not_spelled_out() -> None:
    text = "https://a.example/x" + "_" * 40_000
    tracemalloc.start()
    try:
        assert not was_named("https://b.example/", said(text))
        assert was_named("https://a.example/x__", said(text))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 50 * len(text)
