"""The heartbeat of a worker: it keeps the claim, and stops the worker before the claim can end.

It beats in a thread with a database connection of its own, beside the trainings (which are other
processes). What counts is the worker's monotonic clock read BEFORE a renewal was asked for: from
there the lease holds at least `lease_s`, whatever the wall clocks say.
"""

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from arcfusion.core.errors import ArcFusionError, LostGuardError
from arcfusion.core.home import Home

if TYPE_CHECKING:
    from arcfusion.core.database import Connection
    from arcfusion.issues.config import QueueConfig
    from arcfusion.issues.record import Claim

MARGIN = 0.2  # of the lease: a worker that was not renewed by then stops by itself


class LeaseEndingError(LostGuardError):
    """The claim could not be renewed in time, so the worker stopped before it can end."""


class Guard:
    """Renews a claim until it is left; `check` raises once the claim is lost or about to be."""

    def __init__(
        self, home: Home, actor: str, claim: "Claim", config: "QueueConfig", *, asked_at: float
    ) -> None:
        self._home = home
        self._actor = actor
        self._claim = claim
        self._config = config
        self._trusted_until = asked_at + config.lease_s * (1 - MARGIN)
        self._lost: ArcFusionError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def check(self) -> None:
        """Raise when the claim is lost, or when it could end before the next check.

        Raises:
            LostGuardError: stop writing; somebody else may hold the issue now.
        """
        if self._lost is not None:
            raise LostGuardError(str(self._lost)) from self._lost
        if time.monotonic() > self._trusted_until:
            raise LeaseEndingError(
                f"the claim on {self._claim.issue_id} was not renewed for"
                f" {self._config.lease_s * (1 - MARGIN):.0f} s: this worker stops"
            )

    def hold(self, connection: "Connection") -> None:
        """Be the guard of the worker's writes: raise, or keep the claim until the commit.

        Raises:
            LostGuardError: the claim has ended, or is about to; nothing is written.
        """
        from arcfusion.issues import leases

        self.check()
        leases.hold(connection, self._claim, self._actor)

    def _beat(self) -> None:
        from arcfusion.issues.queue import Queue

        with Queue(self._home, self._actor, config=self._config) as queue:
            while not self._stopping.wait(self._config.heartbeat_s):
                asked_at = time.monotonic()
                try:
                    queue.heartbeat(self._claim.token)
                except ArcFusionError as error:
                    self._lost = error
                    return
                self._trusted_until = asked_at + self._config.lease_s * (1 - MARGIN)
