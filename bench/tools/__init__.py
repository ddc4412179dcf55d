"""How well a local model calls tools: a set of prompts, and the score of the answers (`make eval-tools`)."""
