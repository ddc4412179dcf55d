"""Faults that users of other servers reported, and that must not happen here: one test or more for each."""
