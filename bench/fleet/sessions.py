"""The sessions of a simulation: drawn from the recorded pattern before it runs, the same for all policies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

import msgspec

from bench.fleet.cache import Prompt
from bench.fleet.pattern import Conversation, Pattern

# Pauses in seconds, before a call: (median, sigma) of a log-normal law. These are assumed, not recorded: the
# model was scripted there, and took no time.
TOOL = (2.0, 1.0)
USER = (40.0, 1.0)
# How much longer or shorter than the recorded one a session's calls are, by the same law.
SCALE = (1.0, 0.3)
SUMMARY = 2_000
QUESTION = 60


class Step(msgspec.Struct, frozen=True):
    """A call after a pause of `pause` seconds. agents: what its answer starts, and the next step waits for.

    door: which of the replicas it comes to, as a share of 1.
    """

    prompt: Prompt
    answer: int
    pause: float
    door: float
    agents: tuple[tuple[Step, ...], ...] = ()


class Session(msgspec.Struct, frozen=True):
    """Steps of the main conversation, one after the other, from `start` seconds on."""

    key: str
    start: float
    steps: tuple[Step, ...]


class Shape(msgspec.Struct, frozen=True):
    """They start within `within` seconds, and their users ask `rounds` questions in the mean.

    window: a conversation that would pass so many tokens is summed up and begins anew.
    """

    sessions: int = 2_000
    rounds: float = 2.5
    within: float = 1_200.0
    window: int = 100_000


def drawn(pattern: Pattern, shape: Shape, seed: int) -> list[Session]:
    """The sessions; equal arguments give equal ones."""
    return [_Draw(pattern, shape, f"s{number}", seed).session() for number in range(shape.sessions)]


def calls(session: Session) -> Iterator[Step]:
    """Every step of a session, the sub-agents' too."""
    for step in session.steps:
        yield step
        for agent in step.agents:
            yield from agent


class _Draw:
    """One session in the making."""

    def __init__(self, pattern: Pattern, shape: Shape, key: str, seed: int) -> None:
        self._pattern = pattern
        self._shape = shape
        self._key = key
        self._random = Random(f"{seed}:{key}")  # noqa: S311 - a simulation must repeat
        self._scale = self._law(*SCALE)
        self._begun = 0
        self._end = 0

    def session(self) -> Session:
        start = self._random.uniform(0, self._shape.within)
        again = 1 - 1 / self._shape.rounds
        steps = list(self._round())
        while self._random.random() < again:
            steps += self._round()
        return Session(self._key, start, tuple(steps))

    def _round(self) -> Iterator[Step]:
        """What the client does about one question of its user, on top of all that was said before."""
        main, *agents = self._pattern.conversations
        first = main.calls[0].prompt
        base = self._end + QUESTION if self._end else first
        name = f"{self._key}/{self._begun}"
        for at, call in enumerate(main.calls):
            tokens = base + self._scaled(call.prompt - first)
            answer = self._scaled(call.answer)
            if tokens + answer > self._shape.window:
                self._begun += 1
                name = f"{self._key}/{self._begun}"
                base += first + SUMMARY - tokens
                tokens = first + SUMMARY
            started = tuple(self._agent(agent) for agent in agents if agent.after == at)
            prompt = Prompt(main.kind, main.shared, name, tokens)
            yield self._step(prompt, answer, USER if at == 0 else TOOL, started)
            self._end = tokens + answer

    def _agent(self, agent: Conversation) -> tuple[Step, ...]:
        self._begun += 1
        name = f"{self._key}/agent/{self._begun}"
        first = agent.calls[0].prompt
        return tuple(
            self._step(
                Prompt(agent.kind, agent.shared, name, first + self._scaled(call.prompt - first)),
                self._scaled(call.answer),
                TOOL,
            )
            for call in agent.calls
        )

    def _step(
        self,
        prompt: Prompt,
        answer: int,
        pause: tuple[float, float],
        agents: tuple[tuple[Step, ...], ...] = (),
    ) -> Step:
        return Step(prompt, answer, self._law(*pause), self._random.random(), agents)

    def _scaled(self, tokens: int) -> int:
        return max(0, round(tokens * self._scale))

    def _law(self, median: float, sigma: float) -> float:
        return self._random.lognormvariate(math.log(median), sigma)
