"""A progress bar of one line, on stderr, and only when a person watches it."""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 24
_INTERVAL_S = 0.1


class ProgressBar:
    """Draws how much of a whole is done; on anything but a terminal it draws nothing."""

    def __init__(
        self,
        total: int,
        label: str,
        *,
        stream: TextIO | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what is counted.

        Args:
            total: the whole, >= 1.
            label: stands before the bar.
            stream: where it is drawn; stderr by default.
            now_s: a clock in seconds, to draw at most ten times a second.
        """
        self._total = total
        self._label = label
        self._stream = stream or sys.stderr
        self._now_s = now_s
        self._is_shown = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn_at_s = -_INTERVAL_S
        self._drawn_width = 0

    def update(self, done: int, note: str = "") -> None:
        """Draw the bar at `done`, with a note behind it."""
        now_s = self._now_s()
        is_too_soon = now_s - self._drawn_at_s < _INTERVAL_S and done < self._total
        if not self._is_shown or is_too_soon:
            return
        self._drawn_at_s = now_s
        filled = min(_WIDTH, _WIDTH * done // self._total)
        bar = "#" * filled + "." * (_WIDTH - filled)
        line = f"{self._label} [{bar}] {done}/{self._total} {note}".rstrip()
        # A shorter line must cover the one before it; no escape codes, so NO_COLOR has its way.
        self._stream.write("\r" + line.ljust(self._drawn_width))
        self._stream.flush()
        self._drawn_width = len(line)

    def close(self) -> None:
        """End the line, if there is one."""
        if self._drawn_width:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn_width = 0
