"""PURE: whether the pages of a window came oldest first, and up to where they prove that it was read."""

from __future__ import annotations

from graph_entra.records import Page
from graph_entra.streams import Window


class Order:
    """Whether the pages of a window came in ascending order so far: only then may what was read follow them.

    A page whose records all have one time proves no order, and one with a time outside the window proves disorder.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._last_s = float(window.start_s)
        self._pages = 0
        self._rose = False
        self._kept = not window.newest_first

    def reached_s(self, page: Page) -> int | None:
        """Up to where everything has been read once this page is delivered; None if that is not known."""
        if page.records and self._kept:
            first, last = page.first_time, page.last_time
            self._kept = (
                page.ordered
                and first is not None
                and last is not None
                and self._last_s <= first.timestamp()
                and last.timestamp() <= self._window.end_s
            )
            if self._kept and first is not None and last is not None:
                self._rose = self._rose or first < last or (self._pages > 0 and self._last_s < first.timestamp())
                self._pages += 1
                self._last_s = last.timestamp()
        return int(self._last_s) if self._kept and self._rose else None
