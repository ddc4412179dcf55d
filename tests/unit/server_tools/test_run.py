"""How a call is run, and what becomes of what goes wrong."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dragoman.server_tools import Hit, Page, SearchScope, ServerToolError, ServerTools, run
from dragoman.server_tools.run import ToolRun
from dragoman.translate.order import ServerCall
from dragoman.translate.server_tools import Kind, ServerTool
from dragoman.wire.openai import ChatMessage
from tests.support.server_tools import ToldFetch, ToldSearch, WaitingSearch

URL = "https://a.example/x"
NAMED = [ChatMessage(role="user", content=f"Read {URL} and https://b.example/ and ftp://a.example/x")]


async def ran(tools: ServerTools, name: Kind, arguments: Any, **options: Any) -> Any:
    """The content of the result of one call, as a client receives it."""
    tool = ServerTool(name=name, kind=name, **options)
    run = ToolRun(
        tools,
        {name: tool},
        [],
        seal=lambda text: f"sealed {text}",
        now=lambda: datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    )
    spelled = msgspec.json.encode(arguments).decode()
    (result,) = await run.run([ServerCall("srvtoolu_1", name, spelled)], NAMED)
    made = msgspec.to_builtins(result)
    assert made["tool_use_id"] == "srvtoolu_1"
    return made["content"]


async def searched(hits: list[Hit] | Exception, query: Any = "q", **options: Any) -> Any:
    search = ToldSearch({"q": hits})
    return await ran(ServerTools(web_search=search), "web_search", {"query": query}, **options)


async def fetched(url: Any = URL, page: Page | None = None, **options: Any) -> Any:
    found = ToldFetch({URL: page or Page(url=URL, text="All of it.")})
    return await ran(ServerTools(web_fetch=found), "web_fetch", {"url": url}, **options)


async def test_hits_are_sealed_and_those_outside_are_left_out() -> None:
    hits = [
        Hit(title="A", url="https://a.example/", text="said", age="today"),
        Hit(title="B", url="https://b.example/"),
    ]
    assert await searched(hits, allowed_domains=("a.example",)) == [
        {
            "type": "web_search_result",
            "title": "A",
            "url": "https://a.example/",
            "encrypted_content": "sealed said",
            "page_age": "today",
        }
    ]


async def test_a_backend_knows_what_the_request_wants() -> None:
    search = ToldSearch()
    tools = ServerTools(web_search=search)
    await ran(tools, "web_search", {"query": " q "}, blocked_domains=("b.example",))
    ((query, scope),) = search.asked
    assert (query, scope.blocked_domains, scope.allowed_domains) == ("q", ("b.example",), ())


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ServerToolError("too_many_requests"), "too_many_requests"),
        (ServerToolError("url_not_allowed"), "unavailable"),
        (RuntimeError("a bug"), "unavailable"),
    ],
)
async def test_a_failure_is_a_result(failure: Exception, code: str) -> None:
    assert await searched(failure) == {"type": "web_search_tool_result_error", "error_code": code}


async def test_a_backend_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_SECONDS", 0.01)
    search = WaitingSearch()
    content = await ran(ServerTools(web_search=search), "web_search", {"query": "q"})
    assert (content["error_code"], search.ended) == ("unavailable", "cancelled")


@pytest.mark.parametrize(
    ("query", "code"),
    [("x" * 1025, "query_too_long"), (" ", "invalid_tool_input"), (7, "invalid_tool_input")],
)
async def test_a_query_that_cannot_be_is_an_error(query: Any, code: str) -> None:
    assert (await searched([], query))["error_code"] == code


async def test_halves_of_surrogate_pairs_are_replaced() -> None:
    (hit,) = await searched([Hit(title="\ud800", url="https://a.example/", text="a\udfffb")])
    assert (hit["title"], hit["encrypted_content"]) == ("?", "sealed a?b")


async def test_a_page_is_a_document() -> None:
    page = Page(url=URL, title="T", text="0123456789")
    assert await fetched(page=page, max_content_tokens=2, citations=True) == {
        "type": "web_fetch_result",
        "url": URL,
        "content": {
            "type": "document",
            "source": {
                "type": "text",
                "data": "01234567\n[cut here: 2 more characters]",
                "media_type": "text/plain",
            },
            "title": "T",
            "citations": {"enabled": True},
        },
        "retrieved_at": "2026-01-02T03:04:05+00:00",
    }


@pytest.mark.parametrize(
    ("url", "options", "code"),
    [
        ("https://c.example/", {}, "url_not_in_prior_context"),
        ("https://b.example/", {"allowed_domains": ("a.example",)}, "url_not_allowed"),
        (URL, {"blocked_domains": ("a.example",)}, "url_not_allowed"),
        ("https://b.example/", {}, "url_not_accessible"),
        ("ftp://a.example/x", {}, "invalid_tool_input"),
        ("https://a.example/" + "x" * 2048, {}, "url_too_long"),
    ],
)
async def test_an_address_that_cannot_be_is_an_error(url: str, options: dict[str, Any], code: str) -> None:
    assert await fetched(url, **options) == {"type": "web_fetch_tool_result_error", "error_code": code}


async def test_a_page_that_leads_outside_is_not_given() -> None:
    away = Page(url="https://evil.example/", text="x")
    assert (await fetched(page=away, allowed_domains=("a.example",)))["error_code"] == "url_not_allowed"


async def test_a_search_for_tools_fails_with_its_own_codes() -> None:
    content = await ran(ServerTools(), "tool_search", {})
    assert content == {
        "type": "tool_search_tool_result_error",
        "error_code": "invalid_tool_input",
        "error_message": None,
    }


WRONG: Any = 3


@pytest.mark.parametrize(
    "hits", [None, WRONG, "abc", [WRONG], [Hit(title="A", url=URL, age=WRONG)], [Hit(title="A", url=WRONG)]]
)
async def test_what_is_no_hit_is_a_failure(hits: Any) -> None:
    assert await searched(hits) == {"type": "web_search_tool_result_error", "error_code": "unavailable"}


@pytest.mark.parametrize(
    "page", [Page(url=WRONG, text=""), Page(url=URL, text=WRONG), Page(url=URL, text="", title=WRONG)]
)
async def test_what_is_no_page_is_a_failure(page: Page) -> None:
    assert (await fetched(page=page))["error_code"] == "unavailable"


async def test_every_text_of_a_backend_is_unicode() -> None:
    (hit,) = await searched([Hit(title="A\ud800", url=f"{URL}\ud800", text="\ud800", age="\ud800")])
    assert [hit["title"], hit["url"], hit["encrypted_content"], hit["page_age"]] == [
        "A?",
        f"{URL}?",
        "sealed ?",
        "?",
    ]
    page = await fetched(page=Page(url=f"{URL}\ud800", text="\ud800", title="\ud800"))
    assert (page["url"], page["content"]["title"], page["content"]["source"]["data"]) == (f"{URL}?", "?", "?")


async def test_no_search_fills_the_context() -> None:
    hits = await searched([Hit(title="A" * 1_000, url=URL, text="x" * 1_000_000)] * 1_000)
    assert len(hits) == 20
    assert hits[0]["title"].endswith("[cut here: 500 more characters]")
    assert len(hits[0]["encrypted_content"]) < 10_100


async def test_a_backend_that_cancels_itself_is_a_failure() -> None:
    class Cancelled:
        async def search(self, query: str, scope: SearchScope) -> list[Hit]:
            raise asyncio.CancelledError

    given = await ran(ServerTools(web_search=Cancelled()), "web_search", {"query": "q"})
    assert given["error_code"] == "unavailable"


async def test_no_more_than_some_calls_run_at_a_time() -> None:
    class Counting:
        running = most = 0

        async def search(self, query: str, scope: SearchScope) -> list[Hit]:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            return [Hit(title=query, url=URL)]

    search = Counting()
    tools = ServerTools(web_search=search)
    declared = {"web_search": ServerTool(name="web_search", kind="web_search")}
    calls = [ServerCall(f"srvtoolu_{n}", "web_search", f'{{"query":"{n}"}}') for n in range(50)]
    results = await ToolRun(tools, declared, [], seal=str, now=datetime.now).run(calls, NAMED)
    assert [msgspec.to_builtins(result)["content"][0]["title"] for result in results] == [
        str(n) for n in range(50)
    ]
    assert search.most == 8
