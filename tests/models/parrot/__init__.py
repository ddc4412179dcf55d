"""The parrot: a small Qwen3-style model that plays scripted dialogues, and the program that builds it."""
