"""RayInferenceEngine: any engine in a Ray actor."""

from dragoman.engines.ray.cluster import join, load_ray
from dragoman.engines.ray.engine import RayInferenceEngine, end_shared, shared_name

__all__ = ["RayInferenceEngine", "end_shared", "join", "load_ray", "shared_name"]
