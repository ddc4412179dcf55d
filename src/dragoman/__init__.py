"""Dragoman: the Anthropic Messages API in front of any inference engine."""

__all__ = ["__version__"]

__version__ = "0.1.0"
