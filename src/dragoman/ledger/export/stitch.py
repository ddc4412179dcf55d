"""From chains of turns to rows: each sampled token is trained once, each prompt is there as it was read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from dragoman.ledger.export.chains import sampled_of
from dragoman.ledger.export.trajectory import Span, Trajectory, Weights
from dragoman.ledger.values import Sample, Session, Turn

# (turn, which of its calls): what is trained once.
_Key = tuple[str, int]


class Stitched(msgspec.Struct, frozen=True):
    """The rows of a session, and the turns that are in none of them, with the reason."""

    rows: list[Trajectory]
    left_out: dict[str, str]


def stitch(
    session: Session, chains: Iterable[Sequence[Turn]], *, why_not: Callable[[Turn], str] = lambda _: ""
) -> Stitched:
    """The rows of a session whose turns go on from each other as `chains` say, each of them oldest first.

    A call whose prompt does not begin with the row so far begins another row. Tokens that several chains
    share are trained in the first of them, in the order of `began` and id. why_not: why a turn may not be
    trained though its record is whole, "" where it may; its tokens are then in the rows with mask 0.
    """
    writer = _Writer(session, why_not)
    for chain in _ordered(chains):
        writer.follow(chain)
    return Stitched(writer.rows, writer.left_out)


def _ordered(chains: Iterable[Sequence[Turn]]) -> list[Sequence[Turn]]:
    """The chains in one order, whatever theirs was, without those that another one goes on from."""
    order = sorted(([(turn.began, turn.id) for turn in chain], n, chain) for n, chain in enumerate(chains))
    following = [key for key, _, _ in order[1:]] + [[]]
    return [
        chain for (key, _, chain), after in zip(order, following, strict=True) if after[: len(key)] != key
    ]


def first_difference(begun: Sequence[int], prompt: Sequence[int]) -> int | None:
    """The first token in which a prompt is not what was before; None where it begins with all of that."""
    if list(prompt[: len(begun)]) == list(begun):
        return None
    pairs = enumerate(zip(begun, prompt, strict=False))
    return next((at for at, (before, now) in pairs if before != now), len(prompt))


class _Writer:
    """The rows as they grow, and what was trained in them already."""

    def __init__(self, session: Session, why_not: Callable[[Turn], str]) -> None:
        self.rows: list[Trajectory] = []
        self.left_out: dict[str, str] = {}
        self._session = session
        self._why_not = why_not
        self._metadata = {name: msgspec.json.decode(raw) for name, raw in session.metadata.items()}
        self._trained_in: dict[_Key, int] = {}
        self._seen: set[_Key] = set()

    def follow(self, chain: Sequence[Turn]) -> None:
        """Writes the rows of one chain, but for those that are whole in an earlier one."""
        growing: _Growing | None = None
        for turn in chain:
            if turn.replay_of or not sampled_of(turn):
                self.left_out[turn.id] = turn.why_untrainable() or "text only"
                continue
            for number, sample in enumerate(turn.samples):
                if sample.prompt_ids and sample.sampled_ids:
                    growing = self._grown(growing, sample)
                    self._sampled(growing, turn, number)
        if growing is not None:
            self._close(growing)

    def _grown(self, growing: _Growing | None, sample: Sample) -> _Growing:
        """The row that has the sample's prompt: the same one, or another."""
        if growing is None:
            growing = _Growing()
        elif (at := first_difference(growing.ids, sample.prompt_ids)) is not None:
            self._close(growing)
            growing = _Growing(at, _cause(at, sample))
        growing.read(sample.prompt_ids)
        return growing

    def _sampled(self, growing: _Growing, turn: Turn, number: int) -> None:
        key = (turn.id, number)
        why = turn.why_untrainable() or self._why_not(turn)
        if not why and key in self._trained_in:
            why = f"trained in row {self._trained_in[key]}"
        if not why:
            self._trained_in[key] = len(self.rows)
        growing.sampled(turn, number, why)

    def _close(self, growing: _Growing) -> None:
        keys = {(span.turn, span.sample) for span in growing.spans}
        if keys <= self._seen:
            return
        self._seen |= keys
        self.rows.append(
            Trajectory(
                session=self._session.id,
                row=len(self.rows),
                token_ids=growing.ids,
                mask=growing.mask,
                logprobs=growing.logprobs,
                prompt_length=growing.spans[0].start,
                spans=growing.spans,
                weights=growing.weights,
                broke_at=growing.broke_at,
                broke_because=growing.broke_because,
                rewards=dict(self._session.rewards),
                metadata=self._metadata,
            )
        )


def _cause(at: int, sample: Sample) -> str:
    if sample.drift is not None and sample.drift.at == at:
        return sample.drift.cause
    return "ends earlier" if at == len(sample.prompt_ids) else "differs"


class _Growing:
    """A row while it grows."""

    def __init__(self, broke_at: int | None = None, broke_because: str = "") -> None:
        self.broke_at = broke_at
        self.broke_because = broke_because
        self.ids: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float | None] = []
        self.spans: list[Span] = []
        self.weights: list[Weights] = []

    def read(self, prompt: Sequence[int]) -> None:
        """Takes what of a prompt is new."""
        new = prompt[len(self.ids) :]
        self.ids.extend(new)
        self.mask.extend([0] * len(new))
        self.logprobs.extend([None] * len(new))

    def sampled(self, turn: Turn, number: int, why: str) -> None:
        """Takes what a call sampled; why: the reason not to train it."""
        sample = turn.samples[number]
        start, count = len(self.ids), len(sample.sampled_ids)
        told = [None] * count if why else [_finite(value) for value in sample.logprobs]
        trained = count - told.count(None)
        self.ids.extend(sample.sampled_ids)
        self.mask.extend(0 if value is None else 1 for value in told)
        self.logprobs.extend(told)
        self.weights.extend(_weights(sample, start))
        self.spans.append(
            Span(
                turn=turn.id,
                sample=number,
                start=start,
                end=start + count,
                trained=trained,
                untold=0 if why else count - trained,
                why=why or ("" if trained else "no log-probabilities"),
                agent=turn.agent,
                request_class=turn.request_class,
                model=turn.model,
                finish_reason=sample.finish_reason,
                logprobs_kind=sample.logprobs_kind,
                temperature=turn.sampling.temperature,
                began=turn.began,
                ended=turn.ended,
            )
        )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _weights(sample: Sample, start: int) -> list[Weights]:
    """The sample's segments by their places; one that is not known where their lengths do not fit."""
    count = len(sample.sampled_ids)
    segments = [(each.engine, each.weight_version, each.tokens) for each in sample.segments]
    if sum(tokens for _, _, tokens in segments) != count:
        segments = [(sample.engine, "", count)]
    placed = []
    for engine, version, tokens in segments:
        if tokens:
            placed.append(Weights(start=start, end=start + tokens, engine=engine, weight_version=version))
            start += tokens
    return placed
