"""Engines in Ray actors, and the server under Ray Serve."""
