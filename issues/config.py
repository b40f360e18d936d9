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
        wip_limit: issues that one worker (an actor in a session) may hold; None is 1 for a claim
            with a session and no limit for one without.
        reserve_after: GPU issues that are handed out past one that waits for a pool's GPUs, until
            the pool is kept free for it.

    Raises:
        LeaseConfigError: three heartbeats do not fit into a lease, or a figure is not positive.
    """

    lease_s: float = 60.0
    heartbeat_s: float = 10.0
    max_attempts: int = 3
    backoff_s: float = 30.0
    backoff_max_s: float = 3600.0
    id_prefix: str = "arcfusion"
    wip_limit: int | None = None
    reserve_after: int = 4

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
        if self.wip_limit is not None and self.wip_limit < 1:
            raise LeaseConfigError(f"wip_limit is {self.wip_limit!r}: it must be at least 1")
        if self.reserve_after < 1:
            raise LeaseConfigError(
                f"reserve_after is {self.reserve_after!r}: it must be at least 1"
            )

    def wip_limit_of(self, session: str | None) -> int | None:
        """Return how many issues the claims of this session may hold; None is no limit."""
        if self.wip_limit is None and session is not None:
            return 1
        return self.wip_limit

    def backoff_after(self, failures: int) -> float:
        """Return the seconds to wait after the given number (from 1) of failed attempts."""
        return min(self.backoff_s * 2.0 ** (failures - 1), self.backoff_max_s)
