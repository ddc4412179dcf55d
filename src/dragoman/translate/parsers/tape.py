"""The text of an answer as it comes, read from its beginning; markers are found however they were cut."""

from __future__ import annotations

from collections.abc import Sequence


class Tape:
    """Text that was fed and not yet read. `is_over`: no more will come, so that nothing is held back."""

    def __init__(self) -> None:
        self.text = ""
        self.is_over = False

    def feed(self, text: str) -> None:
        """More of the answer."""
        self.text += text

    def take(self, size: int) -> str:
        """Reads so many characters."""
        taken, self.text = self.text[:size], self.text[size:]
        return taken

    def until(self, markers: Sequence[str]) -> tuple[str, str]:
        """Reads up to the first of some markers, and over it: what stands before, and which it was.

        While none is there the marker is "", and the end that may begin one is left.
        """
        found = [(at, -len(marker), marker) for marker in markers if (at := self.text.find(marker)) >= 0]
        if found:
            at, _, marker = min(found)
            before = self.take(at)
            self.take(len(marker))
            return before, marker
        held = 0 if self.is_over else self.begun(markers)
        return self.take(len(self.text) - held), ""

    def begun(self, markers: Sequence[str]) -> int:
        """Length of the longest end of the text that begins a marker."""
        longest = min(max(map(len, markers), default=1) - 1, len(self.text))
        ends = (self.text[-size:] for size in range(longest, 0, -1))
        return next((len(end) for end in ends if any(marker.startswith(end) for marker in markers)), 0)
