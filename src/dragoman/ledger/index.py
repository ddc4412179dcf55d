"""What is known of running sessions: which turn a request continues, and what was used."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from dragoman.ledger.values import Sample, Turn

_NODE_BYTES = 16


def nodes_of(path: Sequence[str]) -> list[bytes]:
    """A name for each beginning of a path: equal beginnings have equal names."""
    nodes: list[bytes] = []
    last = b""
    for digest in path:
        last = hashlib.blake2b(last + bytes.fromhex(digest), digest_size=_NODE_BYTES).digest()
        nodes.append(last)
    return nodes


class Earlier(msgspec.Struct, frozen=True):
    """The turn that a request comes after, and its last sample; `is_edited`: its history is another."""

    turn: str
    sample: Sample
    is_edited: bool


class _Conversation:
    """The turns of one session, by where they stand. A node is an answered path, or a request's."""

    def __init__(self) -> None:
        self.answered: dict[bytes, str] = {}
        self.passed: dict[bytes, str] = {}
        self.turns: dict[str, Turn] = {}


class Index:
    """Sessions by use, the last used first; ids of prompts and answers are kept up to a bound in all.

    sessions, ids: how many are remembered.
    """

    def __init__(self, *, sessions: int = 4096, ids: int = 16_000_000) -> None:
        self._most_sessions = sessions
        self._most_ids = ids
        self._sessions: OrderedDict[tuple[str, str], _Conversation] = OrderedDict()
        self._samples: OrderedDict[str, Sample] = OrderedDict()
        self._ids = 0

    def knows(self, scope: str, session: str) -> bool:
        """Whether the session's turns are here."""
        return (scope, session) in self._sessions

    def open(self, scope: str, session: str, turns: Sequence[Turn] = ()) -> None:
        """Begins a session with the turns that are recorded of it."""
        self._sessions[scope, session] = _Conversation()
        while len(self._sessions) > self._most_sessions:
            self._sessions.popitem(last=False)
        for turn in sorted(turns, key=lambda turn: turn.began):
            self.add(turn)

    def add(self, turn: Turn) -> None:
        """A turn as it is now, in the place of what was known of it."""
        conversation = self._of(turn.scope, turn.session)
        light = msgspec.structs.replace(turn, samples=())
        conversation.turns[turn.id] = light
        nodes = nodes_of((*turn.path, turn.answer) if turn.answer else turn.path)
        if turn.answer:
            conversation.answered[nodes[-1]] = turn.id
        if turn.samples and turn.samples[-1].prompt_ids:
            conversation.passed.update(dict.fromkeys(nodes, turn.id))
            self._keep(turn.id, turn.samples[-1])

    def earlier(self, scope: str, session: str, path: Sequence[str]) -> Earlier | None:
        """The turn with the longest answered path that this path begins with.

        Else the last one that shares its longest beginning, as one whose history was edited; None where there
        is none, or its ids are not remembered any more.
        """
        conversation = self._of(scope, session)
        nodes = nodes_of(path)
        for node in reversed(nodes):
            found = conversation.answered.get(node)
            if found is not None and found in self._samples:
                return Earlier(found, self._samples[found], is_edited=False)
        for node in reversed(nodes):
            found = conversation.passed.get(node)
            if found is not None and found in self._samples:
                return Earlier(found, self._samples[found], is_edited=True)
        return None

    def turns(self, scope: str, session: str) -> list[Turn]:
        """All turns of a session, without their samples, oldest first."""
        return list(self._of(scope, session).turns.values())

    def forget(self, scope: str, session: str) -> None:
        """A session is no more."""
        conversation = self._sessions.pop((scope, session), None)
        for turn in conversation.turns if conversation is not None else ():
            self._drop(turn)

    def _of(self, scope: str, session: str) -> _Conversation:
        if (scope, session) not in self._sessions:
            self.open(scope, session)
        self._sessions.move_to_end((scope, session))
        return self._sessions[scope, session]

    def _keep(self, turn: str, sample: Sample) -> None:
        self._drop(turn)
        packed = msgspec.structs.replace(
            sample, prompt_ids=array("I", sample.prompt_ids), sampled_ids=array("I", sample.sampled_ids)
        )
        self._samples[turn] = packed
        self._ids += _size(packed)
        while self._ids > self._most_ids and len(self._samples) > 1:
            self._drop(next(iter(self._samples)))

    def _drop(self, turn: str) -> None:
        dropped = self._samples.pop(turn, None)
        if dropped is not None:
            self._ids -= _size(dropped)


def _size(sample: Sample) -> int:
    return len(sample.prompt_ids) + len(sample.sampled_ids)
