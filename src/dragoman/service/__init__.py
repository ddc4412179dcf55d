"""The Messages API over an engine: the story of a request, and what it needs beside it."""

from dragoman.service.keys import signature_keys
from dragoman.service.server_tools import check_server_tools
from dragoman.service.service import Answer, MessagesService
from dragoman.service.stream import AnswerStream

__all__ = ["Answer", "AnswerStream", "MessagesService", "check_server_tools", "signature_keys"]
