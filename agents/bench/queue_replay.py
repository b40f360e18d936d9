"""The event log: it rebuilds the tables after thousands of random verbs, and it grows slowly."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from arcfusion.agents.bench.queue_script import (
    RAN,
    ManualClock,
    Script,
    copy_lab,
    damage,
    make_lab,
    open_unsynced,
)
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.home import Home
from arcfusion.issues.claims import Workplace
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify
from arcfusion.issues.states import Outcome

SEED = 29
OPERATIONS, QUICK_OPERATIONS = 10_000, 200
CYCLES, QUICK_CYCLES = 1_000, 100
BEATS, QUICK_BEATS = 100_000, 500
CYCLE_BYTES = 2_048
BEATS_BYTES = 1 << 20
PLACE = Workplace(git_commit="0" * 40, device="NVIDIA H200")


def measure(quick: bool) -> Iterator[Row]:
    """Replay a long log, and measure what claims and heartbeats leave in the file."""
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as name:
        directory = Path(name)
        template = make_lab(directory / "template")
        home = copy_lab(template, directory / "replay")
        yield from _replay(home, QUICK_OPERATIONS if quick else OPERATIONS)
        home = copy_lab(template, directory / "cycles")
        yield from _grow(home, QUICK_CYCLES if quick else CYCLES)
        home = copy_lab(template, directory / "beats")
        yield from _beat(home, QUICK_BEATS if quick else BEATS)


def _replay(home: Home, num_operations: int) -> Iterator[Row]:
    clock = ManualClock()
    with (
        open_unsynced(home, "alice", clock=clock) as alice,
        open_unsynced(home, "bob", clock=clock) as bob,
    ):
        script = Script(SEED, [alice, bob], clock)
        while sum(script.done.values()) < num_operations:
            script.step()
        found = verify(alice)
        with alice.snapshot() as connection:
            broken = damage(connection)
    verbs = " ".join(f"{verb}={n}" for verb, n in sorted(script.done.items()))
    detail = f"seed {SEED}, {found.events} events, {found.issues} issues, {verbs}"
    done = sum(script.done.values())
    yield at_least("replay: operations", done, num_operations, "ops", detail)
    texts = [str(difference) for difference in found.differences]
    name = "replay: values that the log does not rebuild"
    yield at_most(name, len(texts), 0, "values", "; ".join(texts[:3]) or detail)
    name = "replay: half-written rows, gaps between event numbers"
    yield at_most(name, len(broken), 0, "kinds", "; ".join(broken) or detail)


def _grow(home: Home, num_cycles: int) -> Iterator[Row]:
    """Claim and close issues that are there, with all that a worker says about itself."""
    with open_unsynced(home, "alice") as queue:
        queue.create_all([Draft(title=f"issue {n}") for n in range(num_cycles)])

    def cycles(queue: Queue) -> None:
        for _ in range(num_cycles):
            claim = queue.claim(place=PLACE)
            queue.close(claim, Outcome.DONE, reason="the test passes", evidence=[RAN])

    growth = _measure_growth(home, cycles)
    # The first figure holds free space of half-full pages, the second none.
    for how, size_bytes in (("a checkpoint", growth.closed), ("VACUUM", growth.vacuumed)):
        yield at_most(
            f"replay: growth of a claim-close cycle after {how}",
            size_bytes / num_cycles,
            CYCLE_BYTES,
            "bytes",
            f"{num_cycles} cycles, WAL {growth.wal} bytes before it",
        )


def _beat(home: Home, num_beats: int) -> Iterator[Row]:
    with open_unsynced(home, "alice") as queue:
        queue.create(Draft(title="an issue"))
        claim = queue.claim()
        events = len(queue.events())

    def beats(queue: Queue) -> None:
        for _ in range(num_beats):
            queue.heartbeat(claim)

    growth = _measure_growth(home, beats)
    with open_unsynced(home, "alice") as queue:
        added = len(queue.events()) - events
    detail = f"{num_beats} heartbeats, WAL {growth.wal} bytes before the checkpoint"
    yield at_most("replay: events of heartbeats", added, 0, "events", detail)
    yield at_most("replay: growth of heartbeats", growth.closed, BEATS_BYTES, "bytes", detail)


class Growth(NamedTuple):
    """Bytes by which the file is larger, and those of the WAL before it was written back."""

    closed: int
    vacuumed: int
    wal: int


def _measure_growth(home: Home, work: Callable[[Queue], None]) -> Growth:
    before = _vacuum(home)
    with open_unsynced(home, "alice", session="s" * 36) as queue:
        work(queue)
        wal = home.db_path.with_name(home.db_path.name + "-wal").stat().st_size
    # The last close wrote the WAL back and deleted it.
    closed = home.db_path.stat().st_size
    return Growth(closed - before, _vacuum(home) - before, wal)


def _vacuum(home: Home) -> int:
    with closing(sqlite3.connect(home.db_path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home.db_path.stat().st_size
