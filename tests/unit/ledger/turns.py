"""Turns for the tests of the ledger."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from dragoman.ledger.canonical import digest_of
from dragoman.ledger.values import Drift, Message, Sample, Segment, Turn

IDS = st.lists(st.integers(0, 2**32 - 1), max_size=12)
LOGPROB = st.one_of(st.none(), st.floats(max_value=0, allow_nan=False).filter(math.isfinite))


def message(text: str) -> Message:
    body = b'{"content":"' + text.encode() + b'"}'
    return Message(digest_of(body), body)


def turn(name: str, **more: Any) -> Turn:
    """A turn that is done, whose one sample says something."""
    given = {"scope": "k", "session": "s", "session_evidence": "x-session-id", "state": "done", "began": 1.0}
    given |= {
        "samples": (sample([1, 2], [3, 4]),),
        "path": (message("a").digest,),
        "answer": message("b").digest,
    }
    return Turn(id=name, **{**given, **more})


def sample(prompt: list[int], sampled: list[int], **more: Any) -> Sample:
    return Sample(
        engine="e",
        door="tokens",
        prompt_ids=tuple(prompt),
        sampled_ids=tuple(sampled),
        logprobs=tuple(-float(each) for each in sampled),
        segments=(Segment("e", "1", len(sampled)),),
        **more,
    )


@st.composite
def samples(draw: st.DrawFn, earlier: tuple[int, ...] = ()) -> Sample:
    """Any sample, whose prompt may begin with the ids of an earlier one."""
    shared = draw(st.integers(0, len(earlier)))
    sampled = draw(IDS)
    drift = Drift(at=1, before="a", after="\ud7ff", cause="template", used="recorded")
    return Sample(
        engine=draw(st.text(max_size=4)),
        door=draw(st.sampled_from(["tokens", "chat"])),
        prompt_ids=(*earlier[:shared], *draw(IDS)),
        sampled_ids=tuple(sampled),
        logprobs=tuple(draw(st.lists(LOGPROB, max_size=12))),
        logprobs_kind=draw(st.sampled_from(["raw", "processed", "unknown"])),
        segments=(Segment("e", draw(st.text(max_size=3)), len(sampled)),),
        finish_reason="stop",
        base=draw(st.sampled_from(["", "before"])),
        carried=shared,
        drift=draw(st.sampled_from([None, drift])),
    )
