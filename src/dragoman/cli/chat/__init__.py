"""`dragoman chat`: a conversation in the terminal, over the Messages API of any server."""

from dragoman.cli.chat.command import add_to

__all__ = ["add_to"]
