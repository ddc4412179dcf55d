"""Translations as files: what goes in, and what comes out to the letter."""
