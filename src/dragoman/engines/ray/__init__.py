"""RayInferenceEngine: any engine in a Ray actor."""

from dragoman.engines.ray.engine import RayInferenceEngine

__all__ = ["RayInferenceEngine"]
