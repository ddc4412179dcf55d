"""Translation between the Messages API and the neutral chat form: pure, synchronous, deterministic."""
