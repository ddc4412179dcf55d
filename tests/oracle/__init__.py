"""Our types beside those of the official SDK: what differs has a reason."""
