"""What a large request costs at least: one msgspec decode into the wire types and one encode."""

from __future__ import annotations

import argparse
import statistics
import time

import msgspec

from bench import bodies
from dragoman.wire.anthropic.request import MessagesRequest

WARM_UP = 5
TIMES = 40


class Codec(msgspec.Struct, frozen=True):
    """CPU time of decoding and of encoding one request."""

    body: str
    bytes: int
    decode_us: float
    encode_us: float

    @property
    def both_us(self) -> float:
        """Decoding and encoding together."""
        return self.decode_us + self.encode_us


def measure(size: str) -> Codec:
    """The medians for the request of one size."""
    body = bodies.body(size, "messages")
    decoder = msgspec.json.Decoder(MessagesRequest)
    decoding, encoding = [], []
    for _ in range(WARM_UP + TIMES):
        started = time.process_time_ns()
        request = decoder.decode(body)
        decoded = time.process_time_ns()
        msgspec.json.encode(request)
        encoding.append(time.process_time_ns() - decoded)
        decoding.append(decoded - started)
    return Codec(
        size,
        len(body),
        statistics.median(decoding[WARM_UP:]) / 1000,
        statistics.median(encoding[WARM_UP:]) / 1000,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.codec", description=__doc__)
    parser.add_argument("--body", choices=sorted(bodies.SIZES), default="1MB")
    print(msgspec.json.encode(measure(parser.parse_args().body)).decode())
