"""The official clients against a running server: what they can read is what counts."""
