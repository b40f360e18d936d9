"""Pools under random work: never over capacity, nothing leaks, the large issue's wait is bounded.

The clock is moved by the proof. What is checked is read from the tables with SQL of its own, or
kept here, not asked of the code under proof.
"""

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.errors import ArcFusionError, NotFoundError, RefusedError
from arcfusion.core.home import Home, new_home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Needs, Offer
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.replay import verify
from arcfusion.issues.states import Outcome

OPERATIONS = 10_000
QUICK_OPERATIONS = 300
SEED = 13
POOLS = {"large": 8, "small": 2, "none": 0}
UNDECLARED = "elsewhere"
CONFIG = QueueConfig()
BACKLOG = 40  # ready issues, above which nothing is filed; filing is no operation that counts
HANDOFF = Handoff(tried="a part", result="none yet", next="go on")

_READY = (
    "SELECT id, priority, created_at, needs_gpus FROM issue WHERE status = 'open'"
    " AND blocked_by = 0 AND not_before <= ?"
)
_HELD = (
    "SELECT l.pool, i.needs_gpus FROM lease l JOIN issue i ON i.id = l.issue_id"
    " WHERE i.status = 'in_progress' AND l.expires_at > ?"
)


class Clock:
    """Seconds since 1970 that the proof moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """Return what the time is now."""
        return self.now


class Job(NamedTuple):
    """A ready issue; the smaller tuple is handed out first."""

    priority: int
    created_at: float
    id: str
    gpus: int


@dataclass(slots=True)
class Tally:
    """What went wrong, and how much was tried."""

    operations: int = 0
    claims: int = 0
    gpu_claims: int = 0
    over: int = 0
    too_big: int = 0
    beyond: int = 0
    most_passes: int = 0
    kept_free: int = 0
    leaked: int = 0
    differences: int = 0


@dataclass(slots=True)
class Waiting:
    """An issue that did not fit beside what ran in a pool, since a worker first wanted it."""

    served_before: int
    passes: int = 0


@dataclass(slots=True)
class Watch:
    """One pool: what waits in it, and how many that waited are gone."""

    jobs: dict[str, Waiting] = field(default_factory=dict)
    served: int = 0


def measure(quick: bool) -> Iterator[Row]:
    """Run the random work and the two starvation scenes; yield their rows."""
    wanted = QUICK_OPERATIONS if quick else OPERATIONS
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as name:
        tally = Trial(make_lab(Path(name) / "random"), SEED).run(wanted)
        scenes = list(_scenes(Path(name), sizes=(4,) if quick else (1, 2, 4, 8, 16)))
    detail = f"n={tally.claims} claims, {tally.gpu_claims} of GPUs, seed {SEED}"
    yield at_least("random claims, ends, kills, releases", tally.operations, wanted, "operations")
    yield at_most("pools over their capacity", tally.over, 0, "moments", detail)
    yield at_most("GPUs in use after the last claim ended", tally.leaked, 0, "GPUs", detail)
    yield at_most("issues too large for pool or offer handed out", tally.too_big, 0, "issues")
    k = CONFIG.reserve_after
    detail = (
        f"bound {k} times (1 + waiting issues that left meanwhile), most passes "
        f"{tally.most_passes}, claims while a pool was kept free {tally.kept_free}"
    )
    yield at_most("GPU issues passed over beyond the bound", tally.beyond, 0, "times", detail)
    yield at_most("differences of replay and tables", tally.differences, 0, "values")
    passes = max(scene.passes for scene in scenes)
    detail = ", ".join(f"{scene.gpus} GPUs: {scene.passes}" for scene in scenes)
    yield at_most("small issues handed out past a large one", passes, k, "issues", detail)
    late = max(scene.completions - scene.gpus for scene in scenes)
    detail = "those that ran when it was filed are not counted: all of them have to end"
    yield at_most("small issues that ended before it was claimed", late, k, "issues", detail)
    free = min(scene.without_gpus for scene in scenes)
    yield at_least("issues without GPUs handed out beside it", free, 1, "issues")


def make_lab(workspace: Path) -> Home:
    """Make a lab in a new folder."""
    workspace.mkdir(parents=True)
    home = new_home(workspace)
    store.create(home)
    return home


class Trial:
    """Random work on one lab, watched."""

    def __init__(self, home: Home, seed: int) -> None:
        self.tally = Tally()
        self._random = random.Random(seed)  # noqa: S311  # a test's choices, no secret
        self._clock = Clock()
        self._home = home
        self._held: list[Claim] = []
        self._watches = {pool: Watch() for pool in POOLS}

    def run(self, operations: int) -> Tally:
        """Do so many operations, end all that is claimed, and return what was seen."""
        with (
            Queue(self._home, "bench", clock=self._clock, config=CONFIG) as queue,
            closing(store.connect(self._home)) as tables,
        ):
            for pool, gpus in POOLS.items():
                queue.set_capacity(pool, gpus=gpus)
            for _ in range(operations):
                self._clock.now += self._random.random()
                self._act(queue, tables)
                self.tally.operations += 1
                self._look(tables)
            self._finish(queue, tables)
            self.tally.differences = len(verify(queue).differences)
        return self.tally

    def _act(self, queue: Queue, tables: Connection) -> None:
        ready = self._ready(tables)
        if len(ready) < BACKLOG and self._random.random() < 0.6:
            self._file(queue)
            ready = self._ready(tables)
        choice = self._random.random()
        if choice < 0.60 or not self._held:
            self._claim(queue, tables, ready)
        elif choice < 0.97:
            self._end(queue)
        else:
            self._kill(queue)

    def _file(self, queue: Queue) -> None:
        gpus = self._random.choice((0, 0, 1, 1, 1, 1, 2, 2, 4, 8, 16))
        queue.create(
            Draft(
                title="work",
                priority=self._random.choice((0, 1, 2, 2, 2, 3, 4)),
                needs=Needs(gpus=gpus),
                max_attempts=1_000_000,
            )
        )

    def _claim(self, queue: Queue, tables: Connection, ready: Sequence[Job]) -> None:
        pool = self._random.choice((*POOLS, "large", UNDECLARED))
        offered = self._random.choice((None, None, 1, 2, 8, 16))
        used = self._used(tables).get(pool, 0)
        named = self._random.choice(ready).id if ready and self._random.random() < 0.2 else None
        reserved = any(one.is_reserved for one in queue.pools() if one.pool == pool)
        # Without a declared pool only the offer counts, and no offer is no GPU.
        total = POOLS.get(pool, offered or 0)
        limit = total if offered is None else min(total, offered)
        try:
            claim = queue.claim(named, offer=Offer(gpus=offered), pool=pool)
        except (NotFoundError, RefusedError) as error:
            if named is None and isinstance(error, NotFoundError) and pool in POOLS:
                self._pass(pool, self._blocked(ready, None, total - used, limit), times=0)
            return
        self._held.append(claim)
        gpus = claim.issue.needs.gpus
        self.tally.claims += 1
        self.tally.gpu_claims += gpus > 0
        self.tally.kept_free += reserved
        self.tally.too_big += gpus > limit
        if pool in POOLS:
            taken = next((job for job in ready if job.id == claim.issue_id), None)
            if taken is not None:
                blocked = self._blocked(ready, taken, total - used, limit)
                self._pass(pool, blocked, times=int(gpus > 0))

    def _blocked(
        self, ready: Sequence[Job], before: Job | None, free: int, limit: int
    ) -> list[str]:
        """Return what the worker would have taken first, were its GPUs free."""
        return [
            job.id for job in ready if free < job.gpus <= limit and (before is None or job < before)
        ]

    def _pass(self, pool: str, job_ids: Sequence[str], *, times: int) -> None:
        watch = self._watches[pool]
        for job_id in job_ids:
            waiting = watch.jobs.setdefault(job_id, Waiting(watch.served))
            waiting.passes += times
            bound = CONFIG.reserve_after * (1 + watch.served - waiting.served_before)
            self.tally.beyond += waiting.passes > bound
            self.tally.most_passes = max(self.tally.most_passes, waiting.passes)

    def _end(self, queue: Queue) -> None:
        claim = self._held.pop(self._random.randrange(len(self._held)))
        try:
            match self._random.randrange(5):
                case 0:
                    queue.release(claim, HANDOFF)
                case 1:
                    queue.fail(claim, HANDOFF, error="an error")
                case _:
                    queue.close(claim, Outcome.WONTDO, reason="done with")
        except ArcFusionError:
            # Its lease had run out and another claim gave it back: nothing to end.
            return

    def _kill(self, queue: Queue) -> None:
        """Let some workers die: their leases run out, the others are renewed."""
        dead = self._random.sample(self._held, self._random.randint(1, len(self._held)))
        self._held = [claim for claim in self._held if claim not in dead]
        for _ in range(3):
            self._clock.now += CONFIG.lease_s / 2.5
            for claim in self._held:
                queue.heartbeat(claim)
        if self._random.random() < 0.5:
            queue.sweep()

    def _look(self, tables: Connection) -> None:
        used = self._used(tables)
        self.tally.over += sum(used.get(pool, 0) > gpus for pool, gpus in POOLS.items())
        ready = {job.id for job in self._ready(tables)}
        for watch in self._watches.values():
            gone = watch.jobs.keys() - ready
            watch.served += len(gone)
            for job_id in gone:
                del watch.jobs[job_id]

    def _finish(self, queue: Queue, tables: Connection) -> None:
        while len(self._held) > 3:
            self._end(queue)
        self._clock.now += 2 * CONFIG.lease_s
        queue.sweep()
        self.tally.leaked = sum(one.used for one in queue.pools())
        self.tally.leaked += sum(self._used(tables).values())

    def _used(self, tables: Connection) -> dict[str, int]:
        used: dict[str, int] = {}
        for pool, gpus in tables.execute(_HELD, (self._clock.now,)):
            used[pool] = used.get(pool, 0) + gpus
        return used

    def _ready(self, tables: Connection) -> list[Job]:
        rows = tables.execute(_READY, (self._clock.now,))
        return sorted(Job(priority, at, name, gpus) for name, priority, at, gpus in rows)


@dataclass(frozen=True, slots=True)
class Scene:
    """How a large issue fared beside small ones.

    Attributes:
        gpus: of the pool; the large issue needs all.
        passes: small ones that were handed out after it was filed.
        completions: small ones that ended before it was claimed.
        without_gpus: issues without GPUs that were handed out meanwhile.
    """

    gpus: int
    passes: int
    completions: int
    without_gpus: int


def _scenes(root: Path, sizes: Sequence[int]) -> Iterator[Scene]:
    for gpus in sizes:
        yield play(make_lab(root / f"any{gpus}"), gpus, apart=False)
    # The only worker for the large one asks in vain, and the small ones go to others.
    yield play(make_lab(root / "apart"), sizes[-1], apart=True)


def play(home: Home, gpus: int, *, apart: bool) -> Scene:
    """Fill a pool with small issues, file a large one, and let small ones come and go.

    Args:
        home: a new lab.
        gpus: of the pool.
        apart: small and large issues go to workers that take only these.
    """
    order = random.Random(gpus)  # noqa: S311  # a test's choices, no secret
    clock = Clock()
    small, large = (("small",), ("large",)) if apart else ((), ())
    without_gpus = passes = completions = 0
    with Queue(home, "bench", clock=clock, config=CONFIG) as queue:
        queue.set_capacity("pool", gpus=gpus)
        _file_small(queue, gpus)
        running = [queue.claim(pool="pool", labels=small) for _ in range(gpus)]
        big = queue.create(Draft(title="large", labels=("large",), needs=Needs(gpus=gpus))).id
        clock.now += 1
        limit = 4 * (gpus + CONFIG.reserve_after)
        for _ in range(limit):
            _file_small(queue, 1)
            queue.create(Draft(title="no GPU", priority=4, labels=("plain",)))
            taken = _try_claim(queue, large) or _try_claim(queue, small)
            taken = taken or _try_claim(queue, ("plain",))
            if taken is not None and taken.issue_id == big:
                break
            if taken is not None and taken.issue.needs.gpus:
                passes += 1
                running.append(taken)
            elif taken is not None:
                without_gpus += 1
            if running:
                ended = running.pop(order.randrange(len(running)))
                queue.close(ended, Outcome.WONTDO, reason="done with")
                completions += 1
    return Scene(gpus, passes, completions, without_gpus)


def _file_small(queue: Queue, count: int) -> None:
    one = Draft(title="small", labels=("small",), needs=Needs(gpus=1))
    queue.create_all([one for _ in range(count)])


def _try_claim(queue: Queue, labels: Sequence[str]) -> Claim | None:
    try:
        return queue.claim(pool="pool", labels=labels)
    except NotFoundError:
        return None
