"""The power goes at every write of a recorded history: no acknowledged commit is lost.

The queue's own statements run over apsw, whose VFS records each write and sync. For each cut point
the files are rebuilt as the cut would leave them and opened again: the tables must be exactly those
after the last acknowledged operation, or after the one that was in flight.
"""

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

from arcfusion.agents.bench.power_cut_vfs import SECTOR_BYTES, Call, Disk, Recorder
from arcfusion.agents.bench.queue_script import (
    CHECKS,
    ManualClock,
    Script,
    copy_lab,
    fingerprint,
    in_memory,
    make_lab,
)
from arcfusion.agents.bench.record import Row, at_least, at_most, unmeasured
from arcfusion.core import lab_file, store
from arcfusion.core.database import Connection
from arcfusion.core.home import Home
from arcfusion.issues.queue import Queue

OPERATIONS, QUICK_OPERATIONS = 400, 5
PLANTED_OPERATIONS, QUICK_PLANTED = 60, 2
LIVES = 4  # the connections are closed and opened again so often, so that the WAL is deleted too
# SQLite's 1,000 pages would be 3 checkpoints in the whole history.
CHECKPOINT_PAGES = 64
SEED = 11
DAMAGED = "damaged:"


def open_recorded(
    home: Home, actor: str, clock: ManualClock, recorder: Recorder, synchronous: str
) -> Queue:
    """Open a queue whose connection is apsw's: the same statements, every call recorded."""

    def connect(_: Home) -> Connection:
        connection = recorder.open(home)
        for pragma in lab_file.PRAGMAS:
            connection.execute(pragma)
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        if synchronous:
            connection.execute(f"PRAGMA synchronous={synchronous}")
        return connection

    # No sqlite3 connection in between: its close would write the WAL back, unrecorded.
    with patch.object(store, "connect", connect):
        return Queue(home, actor, clock=clock, checks=CHECKS)


@dataclass(slots=True)
class History:
    """What was done, and when it was acknowledged.

    Attributes:
        files: the lab's files before the first call.
        calls: what SQLite asked the file system for.
        returned: for each operation the number of calls when it had returned.
        done: how often each verb was carried out.
    """

    files: dict[str, bytearray]
    calls: list[Call]
    returned: list[int]
    done: dict[str, int]


@dataclass(slots=True)
class Tally:
    """What the cuts left."""

    points: int = 0
    states: Counter[str] = field(default_factory=Counter)
    losing: int = 0
    lost: int = 0
    broken: list[str] = field(default_factory=list)

    def judge(
        self, kind: str, state: str, known: Mapping[str, list[int]], acknowledged: int
    ) -> None:
        """Count a state that lacks acknowledged operations, or that no operation left."""
        self.states[kind] += 1
        # One more than was acknowledged may be there: it was in flight.
        possible = [number for number in known.get(state, ()) if number <= acknowledged + 1]
        if not possible:
            self.broken.append(f"after operation {acknowledged}, {kind}: {state[:80]}")
        elif max(possible) < acknowledged:
            self.losing += 1
            self.lost += acknowledged - max(possible)


def measure(quick: bool) -> Iterator[Row]:
    """Cut the power at every point, and once with the sync left out, which must be seen."""
    name = "power cut: acknowledged commits lost"
    if find_spec("apsw") is None:
        yield unmeasured(name, "commits", "<= 0", "apsw is not installed: pip install '.[dev]'")
        return
    n_operations = QUICK_OPERATIONS if quick else OPERATIONS
    n_planted = QUICK_PLANTED if quick else PLANTED_OPERATIONS
    with in_memory() as directory:
        template = make_lab(directory)
        history = record(template, n_operations)
        planted_history = record(template, n_planted, synchronous="NORMAL")
    tally = cut_everywhere(history)
    kinds = " ".join(f"{kind}={n}" for kind, n in sorted(tally.states.items()))
    verbs = " ".join(f"{verb}={n}" for verb, n in sorted(history.done.items()))
    detail = f"{len(history.returned)} operations, {len(history.calls)} calls, {kinds}"
    yield at_least("power cut: operations recorded", n_operations, n_operations, "ops", verbs)
    yield at_least("power cut: cut points", tally.points, len(history.calls), "points", detail)
    yield at_most(name, tally.lost, 0, "commits", detail)
    broken = "; ".join(tally.broken[:3]) or detail
    yield at_most("power cut: labs damaged or half-written", len(tally.broken), 0, "labs", broken)
    planted = cut_everywhere(planted_history)
    yield at_least(
        "power cut: commits lost with synchronous=NORMAL (planted)",
        planted.lost,
        1,
        "commits",
        f"{n_planted} operations, {planted.losing} of {planted.states.total()} states lose one",
    )


def record(template: Home, num_operations: int, *, synchronous: str = "") -> History:
    """Play random verbs until so many were carried out.

    Args:
        template: a lab that nobody has open.
        num_operations: that wrote something.
        synchronous: empty for the store's own setting.
    """
    recorder, clock, returned = Recorder(), ManualClock(), list[int]()
    with in_memory() as directory:
        home = copy_lab(template, directory / "lab")
        # What the lab's making left in a WAL would be no file of the model.
        with closing(sqlite3.connect(home.db_path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        files = {home.db_path.name: bytearray(home.db_path.read_bytes())}
        script = Script(SEED, [], clock)
        while len(returned) < num_operations:
            script.queues = [
                open_recorded(home, actor, clock, recorder, synchronous)
                for actor in ("alice", "bob")
            ]
            try:
                life = min(num_operations, len(returned) + -(-num_operations // LIVES))
                while len(returned) < life:
                    if script.step() is not None:
                        returned.append(len(recorder.calls))
            finally:
                for queue in script.queues:
                    queue.disconnect()
    return History(files, recorder.calls, returned, script.done)


def cut_everywhere(history: History) -> Tally:
    """Rebuild and examine the files at every boundary between two calls."""
    with in_memory() as directory:
        inspector = Inspector(directory, history)
        tally, disk, clean = Tally(), Disk(dict(history.files)), inspector.begin
        for position, call in enumerate(history.calls, 1):
            disk.take(call)
            acknowledged = bisect_right(history.returned, position)
            tally.points += 1
            if call.kind == "sync":
                clean = inspector.look(disk.clean())
            tally.judge("clean", clean, inspector.states, acknowledged)
            for kind, files in _unsynced(disk, call):
                state = inspector.look(files)
                tally.judge(kind, state, inspector.states, acknowledged)
    return tally


def _unsynced(disk: Disk, call: Call) -> Iterator[tuple[str, Mapping[str, bytearray]]]:
    """Yield what the newest call adds to what a cut can leave."""
    if call.kind == "sync":
        return
    yield "eager", disk.eager()
    if call.kind == "write" and len(call.data) > SECTOR_BYTES:
        yield "torn", disk.torn()
    if len(disk.pending) > 1:
        yield "late", disk.late()


class Inspector:
    """Opens rebuilt files with Python's SQLite.

    Attributes:
        begin: the state before the first operation.
        states: by state, after how many operations it was the lab's.
    """

    def __init__(self, directory: Path, history: History) -> None:
        self._directory = directory
        self._name = next(iter(history.files))
        disk, position = Disk(dict(history.files)), 0
        self.begin = self._look_whole(disk.clean())
        self.states: dict[str, list[int]] = {self.begin: [0]}
        for number, returned in enumerate(history.returned, 1):
            for call in history.calls[position:returned]:
                disk.take(call)
            position = returned
            self.states.setdefault(self._look_whole(disk.eager()), []).append(number)

    def _look_whole(self, files: Mapping[str, bytearray]) -> str:
        """Look at what no cut has touched: if that is damaged, no cut could be judged."""
        state = self.look(files)
        assert not state.startswith(DAMAGED), state
        return state

    def look(self, files: Mapping[str, bytearray]) -> str:
        """Return the fingerprint of the lab in these files, or what is wrong with it."""
        for old in self._directory.iterdir():
            old.unlink()
        for name, content in files.items():
            # A file that was deleted, or never synced, is not there.
            if content:
                (self._directory / name).write_bytes(content)
        with closing(
            sqlite3.connect(self._directory / self._name, isolation_level=None)
        ) as connection:
            try:
                connection.execute("PRAGMA synchronous=OFF")
                found = connection.execute("PRAGMA integrity_check").fetchone()[0]
                return fingerprint(connection) if found == "ok" else f"{DAMAGED} {found}"
            except sqlite3.DatabaseError as error:
                return f"{DAMAGED} {error}"
