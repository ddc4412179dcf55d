"""The ledger: what was said, token by token, as a graph of messages and turns."""
