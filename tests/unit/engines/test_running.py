"""How many calls a server has, as each kind tells it."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.settings import Dialect, EngineEntry
from tests.support.fake_openai import Answer, FakeOpenAI, reply

METRICS = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
"""
LOADS = {
    "loads": [{"num_running_reqs": 3, "num_waiting_reqs": 1}, {"num_running_reqs": 2, "num_waiting_reqs": 0}]
}
SLOTS = [{"id": 0, "is_processing": True}, {"id": 1, "is_processing": False}]


@pytest.mark.parametrize(
    ("dialect", "path", "answer", "running"),
    [
        ("vllm", "/metrics", Answer(content_type="text/plain", pieces=[METRICS]), 6),
        ("vllm", "/metrics", Answer(content_type="text/plain", pieces=[b"# none\n"]), None),
        ("vllm", "/metrics", reply({}, 404), None),
        ("sglang", "/v1/loads", reply(LOADS), 6),
        ("sglang", "/v1/loads", reply({}, 404), None),
        ("llamacpp", "/slots", reply(SLOTS), 1),
        ("llamacpp", "/slots", reply({}, 501), None),
        ("ollama", "/x", reply({}), None),
    ],
)
async def test_a_server_tells_how_much_it_has_to_do(
    dialect: str, path: str, answer: Answer, running: int | None
) -> None:
    async with FakeOpenAI({path: answer}) as fake:
        kind = msgspec.convert(dialect, Dialect)
        engine = RemoteInferenceEngine(EngineEntry(url=fake.url, dialect=kind))
        assert await engine.running() == running
        await engine.aclose()
