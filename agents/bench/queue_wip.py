"""A race for issues and GPUs: two processes of one session never hold two, all never too many.

Whether they did is read from the event log, which has one order.
"""

import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.errors import LostGuardError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Needs, Offer
from arcfusion.issues.errors import (
    IssueClosedError,
    NothingReadyError,
    PoolFullError,
    WipLimitError,
)
from arcfusion.issues.history import EventRecord
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EventType, Outcome
from arcfusion.issues.view import View

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

TWINS = 2  # processes of one session
START_S = 60.0  # until all processes have started, on a loaded machine
HOLD_S = 0.005
POOL = "race"
_ENDS = frozenset({EventType.CLOSED, EventType.RELEASED, EventType.FAILED, EventType.LOST})


class Held(NamedTuple):
    """What the log says."""

    claims: int
    most: int
    beyond: int
    most_pooled: int


def measure_wip(home: Home, sessions: int, rounds: int, *, limit: int) -> Iterator[Row]:
    """Let pairs of processes claim by id and next from a pool that has GPUs for half of them.

    Args:
        home: a new lab.
        sessions: each has two processes.
        rounds: claims that each process tries.
        limit: that the processes are told; the bar is 1.
    """
    gpus = (sessions + 1) // 2
    with Queue(home, "bench") as queue:
        queue.set_capacity(POOL, gpus=gpus)
        numbers = range(sessions * TWINS * rounds)
        one = Needs(gpus=1)
        filed = queue.create_all([Draft(title=f"work {n}", needs=one) for n in numbers])
    ids = [issue.id for issue, _ in filed]
    context = multiprocessing.get_context("spawn")
    barrier, refused = context.Barrier(sessions * TWINS), context.Value("i", 0)
    processes = [
        context.Process(
            target=race, args=(home, f"s{number // TWINS}", ids, rounds, limit, barrier, refused)
        )
        for number in range(sessions * TWINS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    failed = sum(process.exitcode != 0 for process in processes)
    with View(home) as view:
        held = count_held(view.events(), 1)
    detail = (
        f"n={held.claims} claims of {sessions} sessions in {len(processes)} processes, "
        f"most held {held.most}"
    )
    yield at_most("claims of a session that held one already", held.beyond, 0, "claims", detail)
    yield at_least("claims refused for the limit", refused.value, 1, "claims")
    yield at_most("GPUs held at once in a race for them", held.most_pooled, gpus, "GPUs", detail)
    yield at_most("processes that failed", failed, 0, "processes")


def race(
    home: Home,
    session: str,
    ids: Sequence[str],
    rounds: int,
    limit: int,
    barrier: "Barrier",
    refused: Any,  # noqa: ANN401  # a shared integer has no name to import
) -> None:
    """Claim, hold for a moment and close, beside another process of the same session."""
    order = random.Random(session)  # noqa: S311  # a test's choices, no secret
    config = QueueConfig(lease_s=600.0, wip_limit=limit)
    with Queue(home, "bench", session=session, config=config) as queue:
        barrier.wait(START_S)
        for _ in range(rounds):
            target = order.choice(ids) if order.random() < 0.5 else None
            try:
                # Claims of a pool wait for each other on some databases: half of them are of none.
                pool = POOL if order.random() < 0.5 else None
                claim = queue.claim(target, offer=Offer(gpus=1), pool=pool)
            except WipLimitError:
                with refused.get_lock():
                    refused.value += 1
                continue
            except (LostGuardError, IssueClosedError, NothingReadyError, PoolFullError):
                continue
            time.sleep(HOLD_S)
            queue.close(claim, Outcome.WONTDO, reason="done with")


def count_held(events: Sequence[EventRecord], limit: int) -> Held:
    """Follow the log: how many claims each session held, and how often beyond the limit."""
    holders: dict[tuple[str | None, int | None], tuple[str, str]] = {}
    held: dict[tuple[str, str], int] = {}
    pooled: set[tuple[str | None, int | None]] = set()
    claims = most = beyond = most_pooled = 0
    for event in events:
        if event.type == EventType.CLAIMED:
            attempt = event.after["attempt"]
            assert isinstance(attempt, dict)
            holder = (event.actor, str(attempt["session"]))
            holders[(event.issue_id, event.fence)] = holder
            held[holder] = held.get(holder, 0) + 1
            claims += 1
            most = max(most, held[holder])
            beyond += held[holder] > limit
            if event.after.get("pool") is not None:
                pooled.add((event.issue_id, event.fence))
                most_pooled = max(most_pooled, len(pooled))
        elif event.type in _ENDS and event.fence is not None:
            held[holders.pop((event.issue_id, event.fence))] -= 1
            pooled.discard((event.issue_id, event.fence))
    return Held(claims, most, beyond, most_pooled)
