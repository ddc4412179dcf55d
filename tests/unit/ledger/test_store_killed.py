"""A process that writes turns is killed at random moments: what it was told is kept is there, once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import pytest

from dragoman.ledger.interface import at_hand
from dragoman.ledger.store import SQLiteLedger
from tests.unit.ledger.test_store import chain
from tests.unit.ledger.turns import message

KILLS = 25
SEED = 20_261_127
WRITERS = 4
TURNS = chain(400)

pytestmark = pytest.mark.slow


def write(folder: Path, first: list[int], told: Connection) -> None:
    """Writes the turns of several sessions from a place on, and tells of each that is kept."""

    async def session(store: SQLiteLedger, number: int) -> None:
        for place in range(first[number], len(TURNS)):
            each = TURNS[place]
            kept = msgspec.structs.replace(each, session=str(number))
            await store.put(kept, at_hand([message(f"m{at}") for at in (2 * place, 2 * place + 1)]))
            told.send((number, place))

    async def sessions() -> None:
        store = SQLiteLedger(folder)
        await asyncio.gather(*(session(store, number) for number in range(WRITERS)))

    asyncio.run(sessions())


def test_no_turn_that_was_kept_is_lost(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    told = [0] * WRITERS
    context = multiprocessing.get_context("fork")
    for _ in range(KILLS):
        ours, theirs = context.Pipe(duplex=False)
        writer = context.Process(target=write, args=(tmp_path, told, theirs), daemon=True)
        writer.start()
        theirs.close()
        assert ours.poll(20)
        # some way into the work
        left = chance.randrange(1, 40)
        while left and ours.poll(5):
            number, place = ours.recv()
            told[number] = place + 1
            left -= 1
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        drain(ours, told)
    assert min(told) > KILLS

    async def read() -> None:
        store = SQLiteLedger(tmp_path)
        assert await store.open() == []
        assert await store.verify() == []
        for number in range(WRITERS):
            turns = await store.turns("k", str(number))
            expected = TURNS[: len(turns)]
            assert [(each.id, each.samples) for each in turns] == [
                (each.id, each.samples) for each in expected
            ]
            # what was committed and not told yet may be there too
            assert told[number] <= len(turns) <= told[number] + 1
        await store.aclose()

    asyncio.run(read())


def drain(ours: Connection, told: list[int]) -> None:
    """What was told before the end."""
    try:
        while ours.poll(0):
            number, place = ours.recv()
            told[number] = place + 1
    except (EOFError, OSError):
        return
    finally:
        ours.close()
