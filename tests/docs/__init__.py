"""The docs, checked against the program."""
