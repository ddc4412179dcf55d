"""Faults injected on purpose into real processes."""
