"""Tools that run on the server: how requests declare them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from tests.support.server_tools import BY_REGEX, BY_WORDS, WEB_FETCH, WEB_SEARCH
from tests.support.translation import able_but, tool, translated

ALL = frozenset({"web_search", "web_fetch", "tool_search"})
HERE = {"server_tools": ALL}


def refusal(*tools: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        translated(HERE | changes, tools=list(tools))
    return refused.value.message


@pytest.mark.parametrize(
    ("declared", "argument"),
    [(WEB_SEARCH, "query"), (WEB_FETCH, "url"), (BY_REGEX, "query"), (BY_WORDS, "query")],
)
def test_the_model_sees_a_function_with_one_argument(declared: dict[str, Any], argument: str) -> None:
    made = translated(HERE, tools=[declared])
    (shown,) = made.chat.tools
    assert shown.function.name == declared["name"]
    assert shown.function.description
    schema = msgspec.json.decode(shown.function.parameters)
    assert (schema["required"], list(schema["properties"])) == ([argument], [argument])
    assert list(made.server_tools) == [declared["name"]]


@pytest.mark.parametrize(
    "kind",
    [
        *("web_search_20250305", "web_search_20260209", "web_search_20260318"),
        *("web_fetch_20250910", "web_fetch_20260209", "web_fetch_20260309", "web_fetch_20260318"),
        *("tool_search_tool_regex", "tool_search_tool_bm25"),
    ],
)
def test_every_version_is_known(kind: str) -> None:
    (found,) = translated(HERE, tools=[{"type": kind}]).server_tools.values()
    assert kind.startswith(found.name)


@pytest.mark.parametrize(
    ("kind", "available"),
    [
        ("web_search_20250305", ALL - {"web_search"}),
        ("web_fetch_20250910", ALL - {"web_fetch"}),
        ("web_search_20990101", ALL),
        ("code_execution_20250825", ALL),
        ("tool_search_tool_bm25", frozenset()),
    ],
)
def test_what_does_not_run_here_is_refused_by_name(kind: str, available: frozenset[str]) -> None:
    wrong = refusal({"type": kind, "name": "x"}, server_tools=available)
    assert wrong == f"tools.0: server tool {kind} is not available"


def test_options_are_read() -> None:
    where = {"type": "approximate", "city": "Bern", "country": "CH"}
    options = {"max_uses": 3, "allowed_domains": ["A.example"], "user_location": where}
    (found,) = translated(HERE, tools=[WEB_SEARCH | options]).server_tools.values()
    assert (found.max_uses, found.allowed_domains, found.blocked_domains) == (3, ("a.example",), ())
    assert found.user_location is not None
    assert found.user_location.city == "Bern"
    page = {"max_content_tokens": 9, "citations": {"enabled": True}, "blocked_domains": ["b.example/x"]}
    (found,) = translated(HERE, tools=[WEB_FETCH | page]).server_tools.values()
    assert (found.max_content_tokens, found.citations, found.blocked_domains) == (9, True, ("b.example/x",))


@pytest.mark.parametrize(
    ("declared", "wrong"),
    [
        (WEB_SEARCH | {"name": "search"}, "tools.0.name: Input should be 'web_search'"),
        (
            WEB_SEARCH | {"allowed_domains": ["a.example"], "blocked_domains": ["b.example"]},
            "tools.0: allowed_domains and blocked_domains cannot both be set",
        ),
        (
            WEB_SEARCH | {"allowed_domains": ["a.example", "https://b.example"]},
            "tools.0.allowed_domains.1: Input should be a domain like 'example.com' or 'example.com/path'",
        ),
        (
            WEB_FETCH | {"blocked_domains": ["b.example:443"]},
            "tools.0.blocked_domains.0: Input should be a domain like 'example.com' or 'example.com/path'",
        ),
        (
            WEB_FETCH | {"blocked_domains": [" "]},
            "tools.0.blocked_domains.0: Input should be a domain like 'example.com' or 'example.com/path'",
        ),
        (
            WEB_FETCH
            | {"url_sources": {"user_input": {"type": "all"}, "client_tool_results": {"type": "none"}}},
            "tools.0.url_sources.client_tool_results: only 'all' is available on this server",
        ),
        (
            WEB_FETCH | {"url_sources": {"user_input": 1}},
            "tools.0.url_sources.user_input: only 'all' is available on this server",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_path(declared: dict[str, Any], wrong: str) -> None:
    assert refusal(declared) == wrong


def test_empty_domains_are_none() -> None:
    (found,) = translated(
        HERE, tools=[WEB_SEARCH | {"allowed_domains": [], "blocked_domains": []}]
    ).server_tools.values()
    assert (found.allowed_domains, found.blocked_domains) == (None, ())


def test_a_tool_of_the_client_cannot_have_the_same_name() -> None:
    assert refusal(WEB_SEARCH, tool("web_search")) == "tools.1.name: Tool names must be unique: 'web_search'"
    assert refusal(tool("web_search"), WEB_SEARCH) == "tools.1.name: Tool names must be unique: 'web_search'"


def test_a_tool_of_the_client_alone_may_have_such_a_name() -> None:
    made = translated(HERE, tools=[tool("web_search")])
    assert made.server_tools == {}


def test_one_can_be_forced_and_deferred() -> None:
    forced = translated(HERE, tools=[WEB_SEARCH], tool_choice={"type": "tool", "name": "web_search"})
    assert forced.chat.tool_choice is not None
    assert forced.chat.tool_choice.name == "web_search"
    deferred = translated(HERE, tools=[BY_WORDS, WEB_SEARCH | {"defer_loading": True}])
    assert [made.function.name for made in deferred.chat.hidden_tools] == ["web_search"]
    assert list(deferred.server_tools) == ["tool_search_tool_bm25", "web_search"]


def test_an_engine_without_tools_takes_none() -> None:
    wrong = refusal(WEB_SEARCH, capabilities=able_but(tools=False))
    assert wrong == "tools: the model 'served' does not take tools: its chat template shows it none"
