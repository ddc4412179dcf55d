"""The ledger on the disk: turns come back as they were, once, whatever happened in between."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.errors import ApiError
from dragoman.ledger.interface import SessionFrozenError, at_hand
from dragoman.ledger.store import SQLiteLedger
from dragoman.ledger.values import Session, Turn
from tests.unit.ledger.turns import message, sample, samples, turn

A, B, C = message("a"), message("b"), message("c" * 400)


def opened(folder: Path) -> SQLiteLedger:
    moments = count(100)
    return SQLiteLedger(folder, now=lambda: float(next(moments)))


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteLedger]:
    made = opened(tmp_path)
    yield made
    await made.aclose()


def chain(length: int, **more: Any) -> list[Turn]:
    """Turns of which each goes on from the one before."""
    made: list[Turn] = []
    ids: list[int] = []
    for number in range(length):
        prompt = [*ids, 1000 + number, 7]
        said = sample(prompt, [2000 + number, 9], base=made[-1].id if made else "", carried=len(ids))
        path = tuple(message(f"m{at}").digest for at in range(2 * number + 1))
        answer = message(f"m{2 * number + 1}").digest
        made.append(
            turn(f"t{number:03}", samples=(said,), path=path, answer=answer, began=float(number), **more)
        )
        ids = [*prompt, *said.sampled_ids]
    return made


async def test_turns_come_back_after_a_restart(store: SQLiteLedger, tmp_path: Path) -> None:
    turns = chain(12)
    for each in turns:
        await store.put(each, at_hand([message(f"m{at}") for at in range(26)]))
    assert await store.turns("k", "s") == turns
    await store.aclose()
    again = opened(tmp_path)
    assert await again.open() == []
    assert await again.turns("k", "s") == turns
    found = await again.messages([turns[-1].answer, "00" * 16])
    assert found == {turns[-1].answer: message("m23")}
    # the caches of a new process are empty
    await again.put(msgspec.structs.replace(turns[3], id="fork", began=50.0), at_hand([]))
    assert len(await again.turns("k", "s")) == 13
    assert await again.verify() == []
    await again.aclose()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_turns_in_any_order_come_back(data: st.DataObject, tmp_path: Path) -> None:
    first = data.draw(samples())
    others = data.draw(st.lists(samples((*first.prompt_ids, *first.sampled_ids)), max_size=4))
    turns = [turn(f"t{at}", samples=(each,), began=float(at)) for at, each in enumerate([first, *others])]
    folder = Path(tempfile.mkdtemp(dir=tmp_path))

    async def played() -> list[Turn]:
        store = opened(folder)
        for each in data.draw(st.permutations(turns)):
            await store.put(each, at_hand([A, B]))
        try:
            return await store.turns("k", "s")
        finally:
            await store.aclose()

    assert asyncio.run(played()) == turns


async def test_what_is_known_later_holds(store: SQLiteLedger) -> None:
    done = turn("t", ended=2.0)
    delivered = msgspec.structs.replace(done, delivered=True)
    opening = msgspec.structs.replace(done, state="open", samples=(), answer="", ended=0.0)
    for order in ([opening, done, delivered], [delivered, done, opening], [done, done, delivered, delivered]):
        await store.drop("k", "s")
        for each in order:
            await store.put(each, at_hand([A, B]))
        assert await store.turns("k", "s") == [delivered]
        (summary,) = await store.sessions()
        assert (summary.turns, summary.tokens) == (1, 2)


async def test_many_turns_at_once_share_transactions(store: SQLiteLedger) -> None:
    turns = [turn(f"t{number:03}", session=f"s{number % 7}") for number in range(200)]
    await asyncio.gather(*(store.put(each, at_hand([A, B])) for each in turns))
    found = [each for number in range(7) for each in await store.turns("k", f"s{number}")]
    assert sorted(each.id for each in found) == [each.id for each in turns]


async def test_sessions_of_different_keys_never_meet(store: SQLiteLedger) -> None:
    await store.put(turn("t"), at_hand([A]))
    await store.put(turn("t", scope="other"), at_hand([A]))
    assert [each.scope for each in await store.turns("other", "s")] == ["other"]
    assert await store.drop("other", "s")
    assert not await store.drop("other", "s")
    assert len(await store.turns("k", "s")) == 1
    assert await store.turns("k", "unknown") == []


async def test_a_frozen_session_takes_nothing(store: SQLiteLedger) -> None:
    session = Session(id="s", scope="k", created=5.0)
    await store.put(turn("t"), at_hand([A, B]))
    await store.put_session(msgspec.structs.replace(session, state="frozen"))
    with pytest.raises(SessionFrozenError, match="takes no turn"):
        await store.put(turn("u"), at_hand([]))
    with pytest.raises(SessionFrozenError, match="cannot be changed"):
        await store.put_session(session)
    assert [each.id for each in await store.turns("k", "s")] == ["t"]
    # a turn of another session in the same batch is not refused with it
    both = await asyncio.gather(
        store.put(turn("u"), at_hand([])),
        store.put(turn("u", session="z"), at_hand([])),
        return_exceptions=True,
    )
    assert [type(each) for each in both] == [SessionFrozenError, type(None)]


async def test_sessions_are_listed_by_their_last_change(store: SQLiteLedger) -> None:
    for name in ("one", "two", "three"):
        await store.put(turn("t", session=name), at_hand([]))
    await store.put(turn("u", session="one"), at_hand([]))
    listed = await store.sessions()
    assert [(each.session.id, each.turns) for each in listed] == [("one", 2), ("three", 1), ("two", 1)]
    older = await store.sessions(before=listed[0].changed, limit=1)
    assert [each.session.id for each in older] == ["three"]


async def test_what_nothing_leads_to_any_more_is_forgotten(store: SQLiteLedger) -> None:
    await store.put(turn("t", path=(A.digest, C.digest), answer=B.digest), at_hand([A, B, C]))
    await store.put(turn("t", session="z", path=(A.digest,), answer=""), at_hand([A]))
    await store.drop("k", "s")
    assert await store.messages([A.digest, B.digest, C.digest]) == {A.digest: A}
    (kept,) = await store.turns("k", "z")
    assert kept.path == (A.digest,)


async def test_retention_by_age_and_by_size(store: SQLiteLedger) -> None:
    for number in range(20):
        ids = [hash((number, at)) % 100_000 for at in range(5000)]
        await store.put(turn("t", session=f"s{number:02}", samples=(sample(ids, [1]),)), at_hand([]))
    listed = await store.sessions()
    assert await store.sweep(older_than=listed[-5].changed, most_bytes=0) == 4
    assert await store.sweep(older_than=0.0, most_bytes=200_000) > 0
    left = [each.session.id for each in await store.sessions()]
    assert left == [f"s{number:02}" for number in range(19, 19 - len(left), -1)]
    assert 0 < len(left) < 16
    assert await store.sweep(older_than=0.0, most_bytes=200_000) == 0


# ---- faults --------------------------------------------------------------------------------------------


async def test_a_broken_record_is_a_hole_and_told(store: SQLiteLedger, tmp_path: Path) -> None:
    for each in chain(3):
        await store.put(each, at_hand([]))
    await store.aclose()
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as db:
        db.execute("UPDATE turns SET tokens = substr(tokens, 1, 20) WHERE id = 't001'")
    db.close()
    again = opened(tmp_path)
    # the one behind it begins with its ids
    expected = [f"session s: turn {name}: its record is broken" for name in ("t002", "t001")]
    assert await again.open() == expected
    turns = await again.turns("k", "s")
    assert [each.why_untrainable() for each in turns] == ["", "its record is broken", "its record is broken"]
    assert [(each.scope, each.session) for each in turns] == [("k", "s")] * 3
    session = await again.session("k", "s")
    assert session is not None
    assert session.incomplete.endswith("its record is broken")
    await again.aclose()


async def test_a_store_that_cannot_be_written_says_so_and_goes_on(
    store: SQLiteLedger, tmp_path: Path
) -> None:
    await store.put(turn("t"), at_hand([A]))
    blocker = sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)
    blocker.execute("ALTER TABLE turns RENAME TO gone")
    with pytest.raises(ApiError, match="store cannot be used"):
        await store.put(turn("u"), at_hand([]))
    blocker.execute("ALTER TABLE gone RENAME TO turns")
    blocker.close()
    await store.put(turn("u"), at_hand([]))
    assert [each.id for each in await store.turns("k", "s")] == ["t", "u"]


async def test_a_session_is_marked_incomplete_also_where_there_was_none(store: SQLiteLedger) -> None:
    await store.mark_incomplete("k", "new", "a hole")
    await store.mark_incomplete("k", "new", "another")
    session = await store.session("k", "new")
    assert session is not None
    assert session.incomplete == "a hole"
    assert await store.session("k", "none") is None


async def test_turns_that_a_killed_process_had_begun_are_holes(store: SQLiteLedger, tmp_path: Path) -> None:
    begun = turn("t", state="open", samples=(), answer="")
    await store.put(begun, at_hand([A]))
    await store.put(turn("u"), at_hand([A, B]))
    await store.aclose()
    again = opened(tmp_path)
    assert await again.open() == []
    cut, done = await again.turns("k", "s")
    assert (cut.state, cut.hole, done.hole) == ("cut", "the process ended before it", "")
    assert cut.path == begun.path
    # what is known later is not undone by what was known before
    await again.put(begun, at_hand([]))
    assert (await again.turns("k", "s"))[0] == cut
    await again.aclose()
