"""What a scraper reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dragoman.observe.metrics import SHARED_FOLDER, Metrics


def read(metrics: Metrics) -> list[str]:
    """The lines of the exposition, without what only describes."""
    return [line for line in metrics.render().decode().splitlines() if "_created" not in line]


def test_every_event_is_counted() -> None:
    metrics = Metrics()
    metrics.started()
    metrics.started()
    metrics.finished("/v1/messages", 200, "m", 0.2)
    metrics.first_token("m", 0.1)
    metrics.tokens("m", read=3, cached=2, written=7)
    metrics.engine_failed("a", "api_error")
    metrics.grammar_violated()
    metrics.thinking_dropped(2)
    metrics.client_lost("stalled")
    lines = read(metrics)
    for wanted in (
        'dragoman_requests_total{model="m",route="/v1/messages",status="200"} 1.0',
        'dragoman_request_seconds_bucket{le="0.25",model="m",route="/v1/messages"} 1.0',
        'dragoman_first_token_seconds_count{model="m"} 1.0',
        "dragoman_requests_running 1.0",
        'dragoman_tokens_total{kind="input",model="m"} 3.0',
        'dragoman_tokens_total{kind="cached",model="m"} 2.0',
        'dragoman_tokens_total{kind="output",model="m"} 7.0',
        'dragoman_engine_errors_total{cause="api_error",engine="a"} 1.0',
        "dragoman_grammar_violations_total 1.0",
        "dragoman_thinking_dropped_total 2.0",
        'dragoman_clients_lost_total{how="stalled"} 1.0',
    ):
        assert wanted in lines


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.started()
    assert "dragoman_requests_running 0.0" in read(second)


COUNT = """
from dragoman.observe.metrics import Metrics
metrics = Metrics()
metrics.started()
metrics.finished("/", 200, "", 0.1)
print(metrics.render().decode())
"""


def test_processes_that_share_a_folder_add_up(tmp_path: Path) -> None:
    environ = os.environ | {SHARED_FOLDER: str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", COUNT], env=environ, check=True, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert 'dragoman_requests_total{model="",route="/",status="200"} 2.0' in said[-1].stdout
