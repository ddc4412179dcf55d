"""What an engine can do, found by trying: probes, their report, and how to turn on what is missing."""

from __future__ import annotations

from dragoman.engines.doctor.examine import examine
from dragoman.engines.doctor.report import Difference, Finding, Gap, Outcome, Report

__all__ = ["Difference", "Finding", "Gap", "Outcome", "Report", "examine"]
