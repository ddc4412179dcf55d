"""vLLM in this process."""

from dragoman.engines.vllm.engine import VLLMInferenceEngine

__all__ = ["VLLMInferenceEngine"]
