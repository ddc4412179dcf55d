"""Which engine answers: who is calling, the pure choice, and many engines as one."""
