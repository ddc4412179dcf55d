"""The benchmark: Dragoman beside a relay of the same bytes, a Rust gateway and a translating proxy."""
