"""The figures of the queue, checked when they are made."""

import math
from dataclasses import dataclass

from arcfusion.issues.errors import LeaseConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """How long a claim holds, how often it is renewed, and when an issue is given up.

    Attributes:
        lease_s: seconds that a claim holds without a heartbeat.
        heartbeat_s: seconds between two heartbeats of a worker.
        max_attempts: lost and failed attempts after which an issue is quarantined.
        backoff_s: pause after the first failed attempt; it doubles with each further one.
        backoff_max_s: the longest pause.
        id_prefix: what the ids of this lab begin with.

    Raises:
        LeaseConfigError: three heartbeats do not fit into a lease, or a figure is not positive.
    """

    lease_s: float = 60.0
    heartbeat_s: float = 10.0
    max_attempts: int = 3
    backoff_s: float = 30.0
    backoff_max_s: float = 3600.0
    id_prefix: str = "arcfusion"

    def __post_init__(self) -> None:
        figures = (self.lease_s, self.heartbeat_s, self.backoff_s, self.backoff_max_s)
        if not all(math.isfinite(figure) and figure > 0 for figure in figures):
            raise LeaseConfigError("lease_s, heartbeat_s and backoff must be above 0 seconds")
        if 3 * self.heartbeat_s > self.lease_s:
            raise LeaseConfigError(
                f"a lease of {self.lease_s:g} s does not outlast three heartbeats of "
                f"{self.heartbeat_s:g} s: use a lease of at least {3 * self.heartbeat_s:g} s"
            )
        if self.max_attempts < 1:
            raise LeaseConfigError(f"max_attempts is {self.max_attempts!r}: it must be at least 1")

    def backoff_after(self, failures: int) -> float:
        """Return the seconds to wait after the given number (from 1) of failed attempts."""
        return min(self.backoff_s * 2.0 ** (failures - 1), self.backoff_max_s)
