"""Tests of what resolves a request's files, addresses and documents."""
