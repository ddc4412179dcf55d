"""The benchmark's own tests: that it measures what it says, not how fast anything is."""
