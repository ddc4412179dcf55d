"""The benchmark's page: made from committed figures, which are never those of a quick or a partial run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench import page
from bench.results import Report
from tests.bench.reports import report


def test_the_page_has_the_tables(tmp_path: Path) -> None:
    measured, figures = tmp_path / "bench.json", tmp_path / "benchmark.json"
    measured.write_bytes(msgspec.json.encode(report()))
    assert page.main(["--measured", str(measured), "--figures", str(figures)]) == 0
    text = page.page(figures)
    assert "Measured on 2026-01-02 on two shared cores; load average before: 0.5." in text
    assert "| 32 streams of 512, 1 KB | 2.00 | 1.50 |" in text
    assert msgspec.json.decode(figures.read_bytes(), type=Report).runs == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"about": msgspec.structs.replace(report().about, quick=True)}, "quick run"),
        ({"cpu_us_per_token": {"dragoman": 1.0, "relay": 1.0, "smg": None}}, "litellm was not measured"),
    ],
)
def test_figures_that_mean_nothing_are_not_taken(
    changes: dict[str, object], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, figures = tmp_path / "bench.json", tmp_path / "benchmark.json"
    measured.write_bytes(msgspec.json.encode(report(**changes)))
    assert page.main(["--measured", str(measured), "--figures", str(figures)]) == 1
    assert why in capsys.readouterr().err
    assert not figures.exists()
