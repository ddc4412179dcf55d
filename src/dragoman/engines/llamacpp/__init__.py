"""The embedded engine: llama.cpp inside this process."""

from dragoman.engines.llamacpp.engine import LlamaCppInferenceEngine

__all__ = ["LlamaCppInferenceEngine"]
