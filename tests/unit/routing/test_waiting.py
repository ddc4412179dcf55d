"""The line of calls that wait for room."""

from __future__ import annotations

import asyncio
import time

from dragoman.observe.metrics import Metrics
from dragoman.routing.member import Member
from dragoman.routing.waiting import WaitingLine
from tests.unit.routing.clients import engine


async def test_a_call_whose_time_is_over_as_it_gets_room_takes_it() -> None:
    member = Member(engine("one", "m"))
    await member.look()
    line = WaitingLine(5, 0.05, Metrics())
    waiting = asyncio.create_task(line.wait("m", ()))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, line.offer, member)
    # the loop is busy meanwhile, and does both at once
    time.sleep(0.1)  # noqa: ASYNC251 - the loop has to stand still
    assert await waiting is member
    assert (member.in_flight, len(line)) == (1, 0)
