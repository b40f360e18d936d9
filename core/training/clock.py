"""The clock of a training: only what is between start and stop counts."""

import time
from typing import Protocol


class Clock(Protocol):
    """Measures training time; the trainer stops it for validation and checkpoints."""

    def start(self) -> None:
        """Training goes on from here."""

    def stop(self) -> None:
        """Training rests from here."""

    @property
    def seconds(self) -> float:
        """Training time so far, with a running segment."""


class Stopwatch:
    """The clock of this process."""

    def __init__(self) -> None:
        self._elapsed_s = 0.0
        self._started_at_s: float | None = None

    def start(self) -> None:
        """Begin a segment."""
        self._started_at_s = time.perf_counter()

    def stop(self) -> None:
        """End the segment."""
        self._elapsed_s = self.seconds
        self._started_at_s = None

    @property
    def seconds(self) -> float:
        """Sum of the segments, with a running one."""
        running = 0.0 if self._started_at_s is None else time.perf_counter() - self._started_at_s
        return self._elapsed_s + running
