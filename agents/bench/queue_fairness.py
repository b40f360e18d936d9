"""The order in which work is handed out: total, fair within its rule, one issue a worker.

Load at 90 % in simulated time: W workers, issues of S seconds each. Urgent ones (P0) arrive by
chance at 0.9 W / S a second; n P4 are filed at once, when that has gone on for a while. Two bounds:

- The share of the i-th P4 is the time until the capacity that P0 leaves idle, W t - (P0 work filed
  until t, what was in line included), has sufficed for it and the P4 before it, i S. It must be
  claimed within twice that time. It says what the queue answers for: no chance is in it.
- The share of the whole batch is n S / ((1 - 0.9) W), what the idle 10 % take for it on average.
  Every P4 must be claimed within twice that. Chance alone breaks it for 3 of 1,000 seeds at n=200.
"""

import heapq
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from arcfusion.agents.bench.queue_capacity import BACKLOG, HANDOFF, Clock, make_lab
from arcfusion.agents.bench.queue_wip import measure_wip
from arcfusion.agents.bench.record import Row, at_most
from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.errors import NotFoundError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.ordering import Order
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.states import EdgeType, Outcome
from arcfusion.issues.view import View

WORKERS, SERVICE_S, LOAD = 8, 60.0, 0.9
PATIENT = QueueConfig(lease_s=1e9, heartbeat_s=1.0)
COMMAND = ("issue", "ready", "--json", "--limit", "1000000", "--sort")
# What another machine may have otherwise: the order of sets, the zone, the language.
ELSEWHERE = {"PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is tried."""

    batch: int
    warm: int
    seeds: tuple[int, ...]
    claims: int
    sessions: int
    rounds: int
    issues: int


FULL = Extent(
    batch=200, warm=50, seeds=(1, 2, 3, 4, 5), claims=10_000, sessions=8, rounds=50, issues=2_000
)
QUICK = Extent(batch=10, warm=10, seeds=(4,), claims=150, sessions=1, rounds=10, issues=60)


def measure(quick: bool) -> Iterator[Row]:
    """Run the load, the random claims, the race of sessions and the copies; yield their rows."""
    extent = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as name:
        root = Path(name)
        yield from measure_load(root, extent)
        yield from measure_inversions(make_lab(root / "tiers"), extent)
        yield from measure_wip(make_lab(root / "race"), extent.sessions, extent.rounds, limit=1)
        yield from measure_copies(make_lab(root / "first"), root / "second", extent)


# The load.


@dataclass(slots=True)
class Load:
    """A simulated day; its times are seconds since the P4 were filed."""

    clock: Clock
    urgent_at: list[float] = field(default_factory=list)
    backlog_s: float = 0.0
    waits_s: dict[str, float] = field(default_factory=dict)
    batch: tuple[str, ...] = ()


def measure_load(root: Path, extent: Extent) -> Iterator[Row]:
    """Yield the two bounds of the P4 batch, the worst over the seeds."""
    ratios, batch_ratios, urgent = [], [], 0
    for seed in extent.seeds:
        load = simulate(make_lab(root / f"load{seed}"), extent.batch, extent.warm, seed)
        urgent += len(load.urgent_at)
        shares = fair_shares(load, extent.batch)
        waits = [load.waits_s.get(issue_id, float("inf")) for issue_id in load.batch]
        ratios.append(max(wait / share for wait, share in zip(waits, shares, strict=True)))
        whole = extent.batch * SERVICE_S / ((1 - LOAD) * WORKERS)
        batch_ratios.append(max(waits) / whole)
    detail = (
        f"n={extent.batch} P4 and {urgent // len(extent.seeds)} P0 a seed, seeds {extent.seeds}, "
        f"{WORKERS} workers, {SERVICE_S:g} s each, load {LOAD:g}: "
    )
    values = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    yield at_most(
        "wait of a P4 over its share of what P0 left", max(ratios), 2, "x", detail + values
    )
    values = ", ".join(f"{ratio:.3f}" for ratio in batch_ratios)
    yield at_most(
        "wait of the last P4 over the batch's mean share",
        max(batch_ratios),
        2,
        "x",
        detail + values,
    )


def simulate(home: Home, batch: int, warm: int, seed: int) -> Load:
    """Work at the load until all P4 are claimed, or for ten times their share."""
    chance = random.Random(seed)  # noqa: S311  # arrivals of a test, no secret
    load = Load(Clock())
    began = load.clock.now
    filed_at = began + warm * SERVICE_S
    last = filed_at + 10 * batch * SERVICE_S / ((1 - LOAD) * WORKERS)
    gap = SERVICE_S / (LOAD * WORKERS)
    arrival, is_filed = began + chance.expovariate(1 / gap), False
    busy: list[tuple[float, int, Claim]] = []
    numbers = count()
    with Queue(home, "bench", clock=load.clock, config=PATIENT) as queue:
        waiting = 0
        while len(load.waits_s) < batch and load.clock.now < last:
            moments = [arrival, *([] if is_filed else [filed_at]), *[end for end, *_ in busy[:1]]]
            load.clock.now = now = min(moments)
            if now == arrival:
                queue.create(Draft(title="urgent", priority=0))
                load.urgent_at.append(now - filed_at)
                arrival = now + chance.expovariate(1 / gap)
                waiting += 1
            elif now == filed_at and not is_filed:
                is_filed = True
                running_s = sum(end - now for end, *_ in busy)
                load.backlog_s = running_s + queue.ready_count() * SERVICE_S
                filed = queue.create_all(
                    [Draft(title=f"patient {number}", priority=4) for number in range(batch)]
                )
                load.batch = tuple(issue.id for issue, _ in filed)
                waiting += batch
            else:
                queue.close(heapq.heappop(busy)[2], Outcome.WONTDO, reason="done with")
            while waiting and len(busy) < WORKERS:
                try:
                    claim = queue.claim()
                except NotFoundError:
                    break
                waiting -= 1
                heapq.heappush(busy, (now + SERVICE_S, next(numbers), claim))
                if claim.issue.priority == 4:
                    load.waits_s[claim.issue_id] = now - filed_at
    return load


def fair_shares(load: Load, batch: int) -> list[float]:
    """Return for each P4 of the batch the seconds until P0 left enough capacity for it."""
    arrivals = [at for at in load.urgent_at if at >= 0]
    shares: list[float] = []
    work_s = load.backlog_s
    for index in range(len(arrivals) + 1):
        end = arrivals[index] if index < len(arrivals) else float("inf")
        while len(shares) < batch:
            reached = (work_s + (len(shares) + 1) * SERVICE_S) / WORKERS
            if reached > end:
                break
            shares.append(reached)
        work_s += SERVICE_S
    return shares


# Inversions.


def measure_inversions(home: Home, extent: Extent) -> Iterator[Row]:
    """Claim at random and compare each claim with the first of the ready issues by own count."""
    chance = random.Random(7)  # noqa: S311  # a test's choices, no secret
    clock = Clock()
    claims = inversions = within = 0
    held: list[Claim] = []
    with (
        Queue(home, "bench", clock=clock) as queue,
        closing(store.connect(home)) as tables,
    ):
        while claims < extent.claims:
            clock.now += chance.random()
            if queue.ready_count() < BACKLOG and chance.random() < 0.7:
                _file_some(queue, chance)
            first = _first_ready(tables, clock.now)
            try:
                claim = queue.claim()
            except NotFoundError:
                continue
            claims += 1
            held.append(claim)
            if first is not None and claim.issue_id != first[2]:
                inversions += 1
                within += claim.issue.priority == first[0]
            _end_some(queue, held, chance)
    detail = f"n={claims} claims with releases, failures and dependencies, seed 7"
    yield at_most("inversions inside a tier", within, 0, "claims", detail)
    yield at_most("claims that were not the first in order", inversions, 0, "claims", detail)


def _file_some(queue: Queue, chance: random.Random) -> None:
    recent = queue.list(limit=3)
    edges = [Edge(EdgeType.BLOCKS, issue.id) for issue in recent if chance.random() < 0.1]
    queue.create_all(
        [
            Draft(
                title="work",
                priority=chance.randrange(5),
                edges=tuple(edges),
                max_attempts=1_000_000,
            )
            for _ in range(chance.randint(1, 3))
        ]
    )


def _end_some(queue: Queue, held: list[Claim], chance: random.Random) -> None:
    while len(held) > 20:
        queue.close(held.pop(0), Outcome.WONTDO, reason="done with")
    claim = held.pop(chance.randrange(len(held)))
    match chance.randrange(4):
        case 0:
            queue.release(claim, HANDOFF)
        case 1:
            queue.fail(claim, HANDOFF, error="an error")
        case _:
            queue.close(claim, Outcome.WONTDO, reason="done with")


def _first_ready(tables: Connection, now: float) -> tuple[int, float, str] | None:
    """Return the smallest (priority, created_at, id), with what waits counted from the edges."""
    rows = tables.execute(
        "SELECT priority, created_at, id FROM issue i WHERE status = 'open' AND blocked_by = 0"
        " AND type <> 'epic' AND size <> 'XL' AND not_before <= ?"
        " AND NOT EXISTS (SELECT 1 FROM dependency d JOIN issue b ON b.id = d.depends_on_id"
        " WHERE d.issue_id = i.id AND b.status <> 'closed')"
        # What expired is given back by the claim itself.
        " AND NOT EXISTS (SELECT 1 FROM lease WHERE issue_id = i.id)",
        (now,),
    )
    return min(((priority, at, name) for priority, at, name in rows), default=None)


# Copies.


def measure_copies(home: Home, copy: Path, extent: Extent) -> Iterator[Row]:
    """Compare each order here with that of a copied lab, read by another process elsewhere."""
    fill(home, extent.issues)
    shutil.copytree(home.workspace_path, copy)
    differing = 0
    for order in Order:
        with View(home) as view:
            here = [issue.id for issue in view.ready(order=order)]
        there = _read_elsewhere(copy, order)
        places = zip(here, there, strict=False)
        differing += abs(len(here) - len(there)) + sum(one != other for one, other in places)
    detail = f"n={extent.issues} issues, orders {', '.join(Order)}, read by another process"
    yield at_most(
        "places in which a copied database orders otherwise", differing, 0, "places", detail
    )


def fill(home: Home, issues: int) -> None:
    """File issues of all priorities, many of one moment, a third of which waits for others."""
    chance = random.Random(3)  # noqa: S311  # a test's choices, no secret
    clock = Clock()
    ids: list[str] = []
    with Queue(home, "bench", clock=clock) as queue:
        while len(ids) < issues:
            drafts: list[Draft] = []
            for _ in range(min(50, issues - len(ids))):
                targets = chance.sample(ids, min(2, len(ids))) if chance.random() < 0.3 else []
                edges = tuple(Edge(EdgeType.BLOCKS, target) for target in targets)
                title = f"work {len(ids)}.{len(drafts)}"
                drafts.append(Draft(title=title, priority=chance.randrange(5), edges=edges))
            ids += [issue.id for issue, _ in queue.create_all(drafts)]
            clock.now += chance.choice((0.0, 0.5))


def _read_elsewhere(workspace: Path, order: Order) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("arcfusion")), *COMMAND, order],
        cwd=workspace,
        env=environment | ELSEWHERE,
        check=True,
        capture_output=True,
        text=True,
    )
    return [issue["id"] for issue in json.loads(done.stdout)["data"]]
