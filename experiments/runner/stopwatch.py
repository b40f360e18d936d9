"""Training time by the supervisor's clock, from what the child says about when it trains.

The child can say that it rests while it trains. So a rest costs nothing only while it is short or
the supervisor itself was scoring, and only as often as the settings explain; all else counts as
training.
"""

import time
from collections.abc import Callable

# a checkpoint's write, and the building of a model for a validation
FREE_REST_S = 5.0


class TrainingStopwatch:
    """Adds up the time between `start` and the end of training, without the rests."""

    def __init__(self, *, free_rests: int, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take the clock.

        Args:
            free_rests: how many rests the training's settings explain.
            now_s: a monotonic clock in seconds.
        """
        self._now_s = now_s
        self._free_rests = free_rests
        self._before_s = 0.0
        self._done_s = 0.0
        self._running_since_s: float | None = None
        self._resting_since_s: float | None = None
        self._scoring_s = 0.0

    @property
    def seconds(self) -> float:
        """Training time so far."""
        running = 0.0 if self._running_since_s is None else self._now_s() - self._running_since_s
        return self._before_s + self._done_s + running

    def resume_at(self, seconds: float) -> None:
        """Add the training time of earlier attempts, up to the checkpoint resumed from."""
        self._before_s = seconds

    def arm(self) -> None:
        """The child begins: its start-up is the first rest."""
        self._resting_since_s = self._now_s()

    def start(self) -> None:
        """The child says that it trains from here on."""
        if self._running_since_s is not None:
            return
        now_s = self._now_s()
        if self._resting_since_s is not None:
            free_s = self._scoring_s + (FREE_REST_S if self._free_rests > 0 else 0.0)
            self._done_s += max(0.0, now_s - self._resting_since_s - free_s)
            self._free_rests -= 1
        self._running_since_s, self._resting_since_s, self._scoring_s = now_s, None, 0.0

    def stop(self) -> None:
        """The child says that it rests from here on."""
        if self._running_since_s is None:
            return
        now_s = self._now_s()
        self._done_s += now_s - self._running_since_s
        self._running_since_s, self._resting_since_s = None, now_s

    def exclude(self, seconds: float) -> None:
        """The supervisor was scoring meanwhile."""
        self._scoring_s += seconds
