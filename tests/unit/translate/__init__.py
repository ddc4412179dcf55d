"""Tests of the translation core."""
