"""The simulation: sessions call, policies place, engines answer, leave and join. Its clock is simulated."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from random import Random

import msgspec

from bench.fleet.engines import Engine, Hardware
from bench.fleet.figures import Figures
from bench.fleet.policies import Policy
from bench.fleet.sessions import Session, Step


class Plan(msgspec.Struct, frozen=True):
    """A fleet: `engines` at the start. Each of `failures` dies once and is back, empty, after `down` seconds.

    joins: engines that come on top. Moments are drawn within `within` seconds. replicas: of the router; they
    share nothing but what they see of the engines.
    """

    engines: int = 64
    failures: int = 6
    joins: int = 4
    down: float = 120.0
    within: float = 1_200.0
    replicas: int = 1
    hardware: Hardware = Hardware()


class _Running(msgspec.Struct, eq=False):
    """A call at an engine; `lost` when that died."""

    session: str
    step: Step
    engine: str
    ended: Callable[[], None]
    lost: bool = False


class World:
    """One run: `run` plays all sessions to their end and gives the figures."""

    def __init__(
        self, plan: Plan, sessions: Sequence[Session], policy: Callable[[Hardware], Policy], seed: int
    ) -> None:
        self._plan = plan
        self._policies = [policy(plan.hardware) for _ in range(plan.replicas)]
        self._fleet = {name: Engine(name, plan.hardware) for name in map(_name, range(plan.engines))}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._now = 0.0
        self._running: dict[str, dict[int, _Running]] = {name: {} for name in self._fleet}
        self._sessions = sessions
        self.figures = Figures()
        self._draw_changes(Random(f"{seed}:changes"))  # noqa: S311 - a simulation must repeat

    def run(self) -> Figures:
        """The figures, when every call has its answer."""
        for session in self._sessions:
            self._at(session.start, partial(self._go_on, session.key, session.steps, _nothing))
        while self._events:
            self._now, _, act = heapq.heappop(self._events)
            act()
        self.figures.works = [engine.work for engine in self._fleet.values()]
        return self.figures

    # ---- sessions ----------------------------------------------------------------------------------------

    def _go_on(self, session: str, steps: Sequence[Step], ended: Callable[[], None]) -> None:
        """The first of some steps of a conversation, and the others after it."""
        if not steps:
            ended()
            return
        step, *rest = steps
        self._at(
            self._now + step.pause,
            lambda: self._ask(session, step, lambda: self._agents(session, step, rest, ended)),
        )

    def _agents(self, session: str, step: Step, rest: Sequence[Step], ended: Callable[[], None]) -> None:
        """What an answer starts; the conversation goes on when all of that has ended."""
        left = len(step.agents)

        def one_ended() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._go_on(session, rest, ended)

        for agent in step.agents:
            self._go_on(session, agent, one_ended)
        if not step.agents:
            self._go_on(session, rest, ended)

    # ---- calls -------------------------------------------------------------------------------------------

    def _ask(self, session: str, step: Step, ended: Callable[[], None]) -> None:
        policy = self._policies[int(step.door * len(self._policies))]
        name = policy.place(self._fleet, session, step.prompt, self._now)
        self.figures.placed(session, name, self._fleet)
        engine = self._fleet[name]
        cached, first, whole = engine.take(step.prompt, step.answer, self._now)
        running = _Running(session, step, name, ended)
        number = next(self._numbers)
        self._running[name][number] = running
        self._at(self._now + whole, lambda: self._end(number, running, engine, cached, first))

    def _end(self, number: int, running: _Running, engine: Engine, cached: int, first: float) -> None:
        if running.lost:
            return
        del self._running[running.engine][number]
        engine.end()
        self.figures.answered(running.step.prompt, cached, first)
        running.ended()

    # ---- the fleet ---------------------------------------------------------------------------------------

    def _draw_changes(self, random: Random) -> None:
        for name in random.sample(list(self._fleet), self._plan.failures):
            moment = random.uniform(0, self._plan.within)
            self._at(moment, partial(self._die, name))
            self._at(moment + self._plan.down, partial(self._join, name))
        for number in range(self._plan.joins):
            moment = random.uniform(0, self._plan.within)
            self._at(moment, partial(self._join, _name(self._plan.engines + number)))

    def _die(self, name: str) -> None:
        """An engine dies with its cache; what it was answering is asked again."""
        del self._fleet[name]
        for policy in self._policies:
            policy.gone(name)
        lost = self._running.pop(name)
        for running in lost.values():
            running.lost = True
            self.figures.asked_again += 1
            self._ask(running.session, running.step, running.ended)

    def _join(self, name: str) -> None:
        self._fleet[name] = Engine(name, self._plan.hardware)
        self._running[name] = {}

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), act))


def _name(number: int) -> str:
    return f"engine-{number:04}"


def _nothing() -> None:
    """A session is over."""
