"""Tests of the tools that run on the server."""
