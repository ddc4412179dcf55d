"""Prefix stability: conversations of real clients, rendered by real chat templates, turn by turn."""
