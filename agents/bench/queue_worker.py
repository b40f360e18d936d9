"""One process of the queue's proofs: `python -m arcfusion.agents.bench.queue_worker ROLE JSON`.

It says that it is ready, then takes orders from stdin and answers on stdout, a line of JSON each;
it ends when stdin does. Nothing heavy is loaded: sixty-four of them start at once.
"""

import fcntl
import itertools
import json
import os
import random
import select
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from arcfusion.agents.bench import queue_raw
from arcfusion.agents.guard import Guard
from arcfusion.core.errors import ArcFusionError, DatabaseBusyError, LostGuardError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.errors import NothingReadyError
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.states import Outcome

# The proportion of the defaults: a lease of 60 s, a heartbeat every 10 s.
BEATS_A_LEASE = 6
LONG_LEASE = QueueConfig(lease_s=3600, heartbeat_s=600)
EVIDENCE = (Evidence(kind=EvidenceKind.COMMAND, value="true", exit_status=0),)
HANDOFF = Handoff(tried="a proof", result="none", next="go on")


@dataclass(frozen=True, slots=True)
class Post:
    """Where a worker works, and what its role was given."""

    home: Home
    actor: str
    settings: dict[str, Any]  # JSON, of the role's own shape

    def open_queue(self, config: QueueConfig) -> Queue:
        """Open the lab as this worker."""
        return Queue(self.home, self.actor, config=config)


def short_lease(lease_s: float) -> QueueConfig:
    """Return the figures for a lease that is renewed as often as the default one."""
    return QueueConfig(lease_s=lease_s, heartbeat_s=lease_s / BEATS_A_LEASE)


def complete(queue: Queue, claim: Claim) -> None:
    """Close the claimed issue as done."""
    queue.close(claim.token, Outcome.DONE, evidence=EVIDENCE)


def _answer(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _await_order() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    order: dict[str, Any] = json.loads(line)
    return order


def _is_called() -> bool:
    """Return whether an order is waiting."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _append(file: TextIO, *words: object) -> None:
    """Write a line that survives the process and the machine."""
    file.write(" ".join(map(str, words)) + "\n")
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _timed(seconds: list[float]) -> Iterator[None]:
    """Keep how long the block took, if it succeeds."""
    begun = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - begun)


def race(post: Post) -> None:
    """Claim by id and next, mixed, until nothing is ready; log what was acknowledged.

    Issues of the file `early` are closed at once, the others when everything is claimed: until
    then a claim by id that loses has to hear that the issue is claimed, and nothing else.
    """
    early = set(Path(post.settings["early"]).read_text().split())
    targets = Path(post.settings["ids"]).read_text().split()
    order = random.Random(post.settings["seed"])  # noqa: S311  # a test's order, no secret
    order.shuffle(targets)
    refused: Counter[str] = Counter()
    seconds: list[float] = []
    held: list[Claim] = []

    def close(claim: Claim) -> None:
        with _counted(refused, "close"):
            complete(queue, claim)
            _append(log, "close", claim.issue_id, claim.fence)

    with post.open_queue(LONG_LEASE) as queue, Path(post.settings["log"]).open("a") as log:
        _answer(ready=True)
        _await_order()
        while True:
            target = targets.pop() if targets and order.random() < 0.5 else None
            try:
                with _counted(refused, "early" if target in early else "late"):
                    with _timed(seconds):
                        claim = queue.claim(target)
                    _append(log, "claim", claim.issue_id, claim.fence)
                    held.append(claim)
            except NothingReadyError:
                break
            if held and held[-1].issue_id in early:
                close(held.pop())
        _answer(claimed=len(held))
        _await_order()
        for claim in held:
            close(claim)
        _answer(refused=refused, seconds=seconds)


@contextmanager
def _counted(refused: Counter[str], what: str) -> Iterator[None]:
    """Count refusals and SQLite's own errors by name; only "nothing is ready" goes on."""
    try:
        yield
    except NothingReadyError:
        raise
    except ArcFusionError as error:
        refused[f"{what} {type(error).__name__} {int(error.exit_code)}"] += 1
    except sqlite3.Error as error:
        refused[f"{what} {type(error).__name__} {error}"] += 1


def cycle(post: Post) -> None:
    """Claim and complete for a given time, through the queue or through raw sqlite3."""
    with (
        post.open_queue(QueueConfig()) as queue,
        closing(queue_raw.connect(Path(post.settings["raw"]))) as raw,
    ):
        _answer(ready=True)
        while True:
            order = _await_order()
            seconds: list[float] = []
            steps: dict[str, Callable[[], None]] = {
                "ours": partial(_cycle_ours, queue, seconds),
                "beating": partial(_cycle_beating, queue, seconds),
                "raw": partial(_cycle_raw, raw, post.actor, seconds),
            }
            counts = _repeat(steps[order["side"]], order["seconds"])
            _answer(**counts, seconds=seconds)


def _cycle_ours(queue: Queue, seconds: list[float]) -> None:
    with _timed(seconds):
        claim = queue.claim()
    complete(queue, claim)


def _cycle_beating(queue: Queue, seconds: list[float]) -> None:
    claim = queue.claim()
    with _timed(seconds):
        queue.heartbeat(claim)
    complete(queue, claim)


def _cycle_raw(raw: sqlite3.Connection, actor: str, seconds: list[float]) -> None:
    with _timed(seconds):
        job = queue_raw.claim(raw, actor)
    queue_raw.complete(raw, actor, job)


def _repeat(step: Callable[[], None], seconds: float) -> dict[str, object]:
    """Repeat the step; only what ends within the time is counted."""
    begun = time.perf_counter()
    cycles = busy = 0
    elapsed_s = 0.0
    while elapsed_s < seconds:
        try:
            step()
        except NothingReadyError:
            elapsed_s = time.perf_counter() - begun
            return {"cycles": cycles, "busy": busy, "elapsed_s": elapsed_s}
        except (DatabaseBusyError, sqlite3.OperationalError):
            busy += 1
        elapsed_s = time.perf_counter() - begun
        cycles += elapsed_s < seconds
    return {"cycles": cycles, "busy": busy, "elapsed_s": seconds}


def hold(post: Post) -> None:
    """Claim with a short lease, keep it as a worker does, and write checkpoints until killed."""
    config = short_lease(post.settings["lease_s"])
    with post.open_queue(config) as queue, Path(post.settings["log"]).open("a") as log:
        _answer(ready=True)
        _await_order()
        asked_at = time.monotonic()
        claim = queue.claim()
        _answer(issue=claim.issue_id, fence=claim.fence)
        with Guard(post.home, post.actor, claim, config, asked_at=asked_at) as guard:
            for number in itertools.count(1):
                handoff = Handoff(tried="steps", result=str(number), next="the step after it")
                try:
                    guard.check()
                    queue.checkpoint(claim, handoff)
                except LostGuardError:
                    _append(log, "lost")
                    _await_order()
                _append(log, number)
                time.sleep(post.settings["pause_s"])


def live(post: Post) -> None:
    """Claim, and keep the claim as the worker does until called; say whether it was kept.

    Where the worker would stop, this one only remembers why and goes on renewing the claim: then
    whoever gets it has taken it from the living.
    """
    config = short_lease(post.settings["lease_s"])
    with post.open_queue(config) as queue:
        _answer(ready=True)
        _await_order()
        asked_at = time.monotonic()
        claim = queue.claim()
        _answer(issue=claim.issue_id)
        stopped = ""
        with Guard(post.home, post.actor, claim, config, asked_at=asked_at) as guard:
            while not _is_called():
                time.sleep(0.02)
                try:
                    guard.check()
                except LostGuardError as error:
                    stopped = stopped or str(error)
        _await_order()
        _answer(stopped=stopped)


def sweep(post: Post) -> None:
    """Claim all the time until called; say what it got: there is nothing but what others hold."""
    seconds: list[float] = []
    stolen = 0
    with post.open_queue(LONG_LEASE) as queue:
        _answer(ready=True)
        _await_order()
        while not _is_called():
            begun = time.perf_counter()
            try:
                queue.claim()
                stolen += 1
            except NothingReadyError:
                pass
            seconds.append(time.perf_counter() - begun)
            time.sleep(0.01)
    _answer(stolen=stolen, seconds=seconds)


def stall(post: Post) -> None:
    """Keep every writer waiting, again and again, until called.

    By turns it holds both locks, as a writer of ours that hangs would, and SQLite's alone, as a
    foreign program would.
    """
    stalls = 0
    with (
        closing(sqlite3.connect(post.home.db_path, isolation_level=None, timeout=60)) as connection,
        post.home.lock_path.open("a") as lock,
    ):
        _answer(ready=True)
        _await_order()
        while not _is_called():
            if stalls % 2 == 0:
                fcntl.flock(lock, fcntl.LOCK_EX)
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(post.settings["stall_s"])
            connection.execute("ROLLBACK")
            fcntl.flock(lock, fcntl.LOCK_UN)
            stalls += 1
            time.sleep(post.settings["gap_s"])
    _answer(stalls=stalls)


def haunt(post: Post) -> None:
    """Claim, and later try every write of a holder with that claim; say what became of each."""
    with post.open_queue(short_lease(post.settings["lease_s"])) as queue:
        _answer(ready=True)
        while True:
            _await_order()
            claim = queue.claim()
            _answer(issue=claim.issue_id, fence=claim.fence)
            _await_order()
            _answer(**{name: _outcome(write) for name, write in _writes(queue, claim).items()})


def _writes(queue: Queue, claim: Claim) -> dict[str, Callable[[], object]]:
    """Return every write that only a holder may do."""
    issue_id, fence = claim.issue_id, claim.fence
    return {
        "heartbeat": lambda: queue.heartbeat(claim),
        "checkpoint": lambda: queue.checkpoint(claim, HANDOFF),
        "note": lambda: queue.note(issue_id, "late", fence=fence),
        "comment": lambda: queue.comment(issue_id, "late", fence=fence),
        "close": lambda: complete(queue, claim),
        "release": lambda: queue.release(claim, HANDOFF),
        "fail": lambda: queue.fail(claim, HANDOFF, error="late"),
    }


def _outcome(write: Callable[[], object]) -> str:
    try:
        write()
    except ArcFusionError as error:
        return f"{type(error).__name__} {int(error.exit_code)}"
    return "written"


ROLES: dict[str, Callable[[Post], None]] = {
    "race": race,
    "cycle": cycle,
    "hold": hold,
    "live": live,
    "sweep": sweep,
    "stall": stall,
    "haunt": haunt,
}


def main(arguments: list[str]) -> None:
    """Run the role until its stdin ends."""
    role, document = arguments
    fields = json.loads(document)
    home = Home(Path(fields["home"]), fields["database"])
    ROLES[role](Post(home, fields["actor"], fields["settings"]))


if __name__ == "__main__":
    main(sys.argv[1:])
