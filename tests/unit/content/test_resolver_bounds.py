"""What one request may take of the resolver: places, memory."""

from __future__ import annotations

import asyncio

import pytest

from dragoman.content import resolver as resolvers
from dragoman.content.resolver import AT_A_TIME
from dragoman.errors import InvalidRequestError
from dragoman.store.interface import FileContent
from tests.support.pdfs import document, pdf
from tests.unit.content.test_resolver import pointing, request, resolved, resolving, stored


async def test_of_one_request_a_few_blocks_are_resolved_at_a_time() -> None:
    running = most = 0

    async def counted(file_id: str, scope: str) -> FileContent:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return stored(file_id.encode(), "text/plain")

    names = [f"file_{number}" for number in range(3 * AT_A_TIME)]
    async with resolving() as resolver:
        resolver.read_file = counted
        found = await resolved(
            resolver, request(*(pointing("document", type="file", file_id=name) for name in names))
        )
    assert [block["source"]["data"] for block in found["messages"][0]["content"]] == names
    assert most == AT_A_TIME


async def test_the_pages_of_all_pdfs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = document(pdf("a" * 15))
    monkeypatch.setattr(resolvers, "MOST_PAGES", 31)
    async with resolving() as resolver:
        await resolved(resolver, request(one, one))
        with pytest.raises(
            InvalidRequestError, match=r"messages\.0\.content\.\d\.source\.data: the pages of all PDFs"
        ):
            await resolved(resolver, request(one, one, one))
