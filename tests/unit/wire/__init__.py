"""Tests of values and codecs."""
