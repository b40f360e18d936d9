"""One process that forks a child for each fault of `queue_killpoints`, and looks at what it left.

Usage: python -m arcfusion.agents.bench.kill_server TEMPLATE DIRECTORY STEPS [--PLANTED].

It prints one JSON object, a `Tally`. It imports once and forks before anything is open: a database
that is open at a fork is damaged by it. The planted defects are `--early`, a child that reports a
step before it is committed, and `--unguarded`, writes without a transaction.
"""

import json
import os
import resource
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from arcfusion.agents.bench.queue_script import (
    CHECKS,
    RAN,
    ManualClock,
    Script,
    copy_lab,
    damage,
    fingerprint,
)
from arcfusion.core.errors import ArcFusionError, DatabaseFailedError, DatabaseFullError
from arcfusion.core.home import Home
from arcfusion.core.lab_file import LabConnection
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify
from arcfusion.issues.states import Outcome

SEED = 23
# A statement is killed inside after so many of SQLite's own instructions.
INSTRUCTIONS = 6
# So few pages in memory that a transaction writes before its COMMIT.
SMALL_CACHE = "PRAGMA cache_size=4"
_DISK_ERRORS = (DatabaseFullError, DatabaseFailedError)
MAX_PAGES = 1_073_741_823


@dataclass(slots=True)
class Tally:
    """What the faults left; a text for each failure."""

    statements: int = 0
    points: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)


class Player:
    """The script on one lab, by alice and bob; opened in the process that plays it."""

    def __init__(self, home: Home, stack: ExitStack) -> None:
        self.clock = ManualClock()
        queues = [
            stack.enter_context(Queue(home, actor, clock=self.clock, checks=CHECKS))
            for actor in ("alice", "bob")
        ]
        self.script = Script(SEED, queues, self.clock)
        self.connections = [_connection(queue) for queue in queues]
        self.num_statements = 0

    def trace(self, begin: Callable[[int, sqlite3.Connection], None]) -> None:
        """Call `begin` with the number of each statement before it begins."""
        for connection in self.connections:
            connection.set_trace_callback(partial(self._count, begin, connection))

    def _count(
        self,
        begin: Callable[[int, sqlite3.Connection], None],
        connection: sqlite3.Connection,
        _: str,
    ) -> None:
        self.num_statements += 1
        begin(self.num_statements, connection)

    def step(self) -> None:
        """Go on until an operation was carried out, or the disk refused one."""
        while self.script.step() is None:
            if isinstance(self.script.refusal, _DISK_ERRORS):
                return

    def step_short_of_space(self) -> tuple[str, str] | None:
        """Do one step; return the disk's refusal and the state after it, or None.

        What a refused step changed in the script is set back, so that the next one does the same.
        """
        script = self.script
        before = script.random.getstate(), self.clock.now, [*script.ids], [*script.claims]
        self.step()
        if not isinstance(script.refusal, _DISK_ERRORS):
            return None
        script.random.setstate(before[0])
        self.clock.now, script.ids, script.claims = before[1:]
        return type(script.refusal).__name__, fingerprint(self.connections[0])


class Server:
    """The faults, one after the other.

    Args:
        template: a lab that nobody has open.
        directory: where its copies go.
        num_steps: of the script.
        early: whether children acknowledge before they write (the planted defect).
    """

    def __init__(self, template: Home, directory: Path, num_steps: int, *, early: bool) -> None:
        self._template = template
        self._workspace = directory / "lab"
        self._num_steps = num_steps
        self._early = early
        self.tally = Tally()
        self.states: list[str] = []

    def serve(self) -> Tally:
        """Play the script once undisturbed, then once for each fault."""
        self._play_undisturbed()
        for number in range(1, self.tally.statements + 1):
            for fault in ("kill before", "kill inside"):
                self._inject(fault, number, partial(self._die, number, inside=fault.endswith("e")))
            self._inject("file limit", number, partial(self._starve, statement=number))
        for step in range(1, self._num_steps + 1):
            self._inject("page limit", step, partial(self._starve, step=step))
        return self.tally

    def _play_undisturbed(self) -> None:
        home = copy_lab(self._template, self._workspace)
        with ExitStack() as stack, closing(sqlite3.connect(home.db_path)) as reader:
            player = Player(home, stack)
            player.trace(lambda *_: None)
            self.states.append(fingerprint(reader))
            for _ in range(self._num_steps):
                player.step()
                self.states.append(fingerprint(reader))
            self.tally.statements = player.num_statements

    def _inject(self, fault: str, number: int, play: Callable[[Home, int], None]) -> None:
        """Let a child play on a fresh lab, then judge what it said by what is there."""
        home = copy_lab(self._template, self._workspace)
        said = _in_child(partial(play, home))
        _count_one(self.tally.points, fault)
        where = f"{fault} {number}"
        acknowledged = 0
        for line in said:
            step, word, state = line.split()
            if word == "done":
                acknowledged = int(step)
            else:
                _count_one(self.tally.errors, word)
            if state not in {"-", self.states[int(step) - (word != "done")]}:
                self.tally.broken.append(f"{where}: step {step} {word} left another state")
        self._judge(home, where, acknowledged)

    def _judge(self, home: Home, where: str, acknowledged: int) -> None:
        with closing(sqlite3.connect(home.db_path)) as reader:
            found = damage(reader)
            state = fingerprint(reader)
        # One step more than was acknowledged may be there: it was in flight.
        allowed = self.states[acknowledged : acknowledged + 2]
        if found:
            self.tally.broken.append(f"{where}: {found[0]}")
        elif state in self.states[:acknowledged] and state not in allowed:
            self.tally.lost.append(f"{where}: step {acknowledged} was acknowledged")
        elif state not in allowed:
            self.tally.broken.append(f"{where}: a state that no step left")
        try:
            differences = _go_on(home)
        except (ArcFusionError, sqlite3.Error) as error:
            self.tally.stuck.append(f"{where}: {error}")
        else:
            self.tally.broken += [f"{where}: {one}" for one in differences[:1]]

    def _die(self, statement: int, home: Home, acknowledge: int, *, inside: bool) -> None:
        """Play until a statement, and kill this process before it or inside it."""

        def begin(number: int, connection: sqlite3.Connection) -> None:
            if number != statement:
                return
            if inside:
                connection.set_progress_handler(_kill_me, INSTRUCTIONS)
            else:
                _kill_me()

        with ExitStack() as stack:
            player = Player(home, stack)
            player.trace(begin)
            for step in range(1, self._num_steps + 1):
                if self._early:
                    _say(acknowledge, step, "done")
                player.step()
                if not self._early:
                    _say(acknowledge, step, "done")

    def _starve(self, home: Home, acknowledge: int, *, statement: int = 0, step: int = 0) -> None:
        """Play until a statement or a step, and take the space away there; then give it back."""

        def begin(number: int, _: sqlite3.Connection) -> None:
            if number == statement:
                _limit_files(home, number)

        with ExitStack() as stack:
            player = Player(home, stack)
            for connection in player.connections:
                connection.execute(SMALL_CACHE)
            player.trace(begin)
            for number in range(1, self._num_steps + 1):
                if number == step:
                    _limit_pages(player.connections)
                refused = player.step_short_of_space()
                if refused is not None:
                    _say(acknowledge, number, *refused)
                _lift_limits(player.connections if number == step else ())
                if refused is not None:
                    player.step()
                _say(acknowledge, number, "done", fingerprint(player.connections[0]))
                if refused is not None or number == step or player.num_statements >= statement > 0:
                    return


def _count_one(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def _connection(queue: Queue) -> sqlite3.Connection:
    with queue.snapshot() as connection:
        assert isinstance(connection, sqlite3.Connection)
        return connection


def _in_child(play: Callable[[int], None]) -> list[str]:
    """Run it in a fork; return the lines that it wrote before it ended, however it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            play(writer)
            status = 0
        except BaseException:  # noqa: BLE001  # nothing of the parent may run on in the child
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    if status and not os.WIFSIGNALED(status):
        raise AssertionError("a child failed by itself: see its traceback")
    return lines


def _say(pipe: int, step: int, word: str, state: str = "-") -> None:
    os.write(pipe, f"{step} {word} {state}\n".encode())


def _kill_me() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _limit_files(home: Home, number: int) -> None:
    """Let no file grow past the WAL's end and a bit, which ends in the middle of a page."""
    wal = home.db_path.with_name(home.db_path.name + "-wal")
    limit = wal.stat().st_size + number * 997 % 9_000
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def _limit_pages(connections: Sequence[sqlite3.Connection]) -> None:
    for connection in connections:
        # Pages that are free inside the file are space, too.
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")


def _lift_limits(connections: Sequence[sqlite3.Connection]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for connection in connections:
        connection.execute(f"PRAGMA max_page_count={MAX_PAGES}")


def _go_on(home: Home) -> list[str]:
    """Work on in the lab as the next process would; return what the log does not rebuild."""
    clock = ManualClock()
    clock.pass_s(100_000.0)
    with Queue(home, "carol", clock=clock) as queue:
        issue = queue.create(Draft(title="the next one", priority=0))
        claim = queue.claim(issue.id)
        queue.heartbeat(claim)
        queue.close(claim, Outcome.DONE, evidence=[RAN])
        return [str(difference) for difference in verify(queue).differences]


def _do_not_begin(_: LabConnection, *, read_only: bool = False) -> None:
    """Leave each statement to itself."""
    del read_only


if __name__ == "__main__":
    if "--unguarded" in sys.argv:
        setattr(LabConnection, "begin", _do_not_begin)  # noqa: B010  # mypy forbids the assignment
    server = Server(
        Home(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), early="--early" in sys.argv
    )
    sys.stdout.write(json.dumps(asdict(server.serve())) + "\n")
