"""This fails when a worker goes on writing after its claim is lost, or lets a live claim expire."""

import time

import pytest

from arcfusion.agents.guard import Guard, LeaseEndingError
from arcfusion.core.errors import LostGuardError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue

CONFIG = QueueConfig(lease_s=3.0, heartbeat_s=0.2)


def make_claim(home: Home, queue: Queue):
    queue.create(Draft(title="a question"))
    return queue.claim()


def test_a_live_worker_keeps_its_claim_beyond_the_lease(home: Home) -> None:
    with Queue(home, "a", config=CONFIG) as queue:
        asked_at = time.monotonic()
        claim = make_claim(home, queue)
        with Guard(home, "a", claim, CONFIG, asked_at=asked_at) as guard:
            time.sleep(4.0)
            guard.check()
            assert queue.sweep() == 0


def test_a_worker_learns_that_its_claim_was_taken(home: Home) -> None:
    with Queue(home, "a", config=CONFIG) as queue:
        asked_at = time.monotonic()
        claim = make_claim(home, queue)
        with Guard(home, "a", claim, CONFIG, asked_at=asked_at) as guard:
            queue.release(claim.token, Handoff(tried="t", result="r", next="n"))
            deadline = time.monotonic() + 2
            with pytest.raises(LostGuardError):  # noqa: PT012  # until the next heartbeat
                while time.monotonic() < deadline:
                    guard.check()
                    time.sleep(0.02)


def test_a_worker_that_can_not_renew_stops_before_its_lease_ends(home: Home) -> None:
    slow = QueueConfig(lease_s=3.0, heartbeat_s=0.5)
    with Queue(home, "a", config=slow) as queue:
        claim = make_claim(home, queue)
        # As if the claim had been asked for almost a lease ago, with no heartbeat since.
        guard = Guard(home, "a", claim, slow, asked_at=time.monotonic() - 2.5)
        with pytest.raises(LeaseEndingError, match="stops"):
            guard.check()
