"""HTML as text."""

from __future__ import annotations

import subprocess
import sys

from dragoman.server_tools import html_text
from dragoman.server_tools.html_text import text_of

PAGE = """<!doctype html><html><head><title> A  &amp; B
</title><style>p {}</style><script>no()</script></head>
<body><h1>Head</h1><p>One   two<br>three</p><ul><li>a<li>b</ul>
<noscript>unseen</noscript><svg><title>drawing</title><text>in it</text></svg>
<p>caf&eacute;</p></body></html>"""


def test_a_page_is_read_block_by_block() -> None:
    assert text_of(PAGE) == ("A & B", "Head\nOne two\nthree\na\nb\ncafé")


def test_a_head_without_end_hides_no_body() -> None:
    assert text_of("<head><title>T</title><body>seen") == ("T", "seen")


def test_a_fragment_is_read_too() -> None:
    assert text_of("just <b>words</b>") == ("", "just words")


def test_an_unseen_part_ends_with_what_holds_it() -> None:
    assert text_of("<object><iframe>x</object>after</title>") == ("", "after")


def test_it_is_a_program_that_needs_no_library() -> None:
    command = [sys.executable, "-I", "-S", html_text.__file__]
    out = subprocess.run(command, input=PAGE.encode(), capture_output=True, check=True)
    assert out.stdout.decode() == "\n".join(text_of(PAGE))
