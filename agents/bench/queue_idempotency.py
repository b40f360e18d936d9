"""Retries: what is filed or written twice is there once, whoever repeats it and when."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from arcfusion.agents.bench.queue_crew import temporary_lab
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core import store
from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Token
from arcfusion.issues.replay import Difference, compare, read_tables, verify
from arcfusion.issues.states import EdgeType, Outcome

CLIENTS = 8
RETRIED = 0.3
LATEST_RETRY = 300  # operations later
RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)
DRAFTS: dict[str, Callable[[int], Draft]] = {
    "an idempotency key": lambda n: Draft(title=f"by process {n}", idempotency_key="key"),
    "an experiment": lambda n: Draft(title=f"by process {n}", experiment="f" * 64),
}


def measure(quick: bool) -> Iterator[Row]:
    """File one thing from many processes; play a log with and without retries."""
    for name in DRAFTS:
        yield from _measure_race(name, 4 if quick else 32)
    yield from _measure_log(400 if quick else 10_000)


def _measure_race(name: str, processes: int) -> Iterator[Row]:
    with temporary_lab() as home:
        ids = _race(home, name, processes)
        with Queue(home, "bench") as queue:
            issues = len(queue.list())
    detail = f"n={processes} processes, load={os.getloadavg()[0]:.1f}"
    yield at_most(f"issues of {name} filed at once", issues, 1, "issues", detail)
    yield at_least(f"processes that got the id of {name}", len(ids), processes, "processes")
    yield at_most(f"different ids of {name}", len(set(ids)), 1, "ids", detail)


def _race(home: Home, name: str, processes: int) -> list[str]:
    """Let the processes file it at the same moment; return what they printed."""
    module = "arcfusion.agents.bench.queue_idempotency"
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(home.path), name, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        answers = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return [answer.strip() for answer in answers if answer.strip()]


def _file(path: Path, name: str, number: int) -> None:
    """File it when a line comes in, and print the id."""
    with Queue(Home(path), f"process {number}") as queue:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sys.stdout.write(queue.create(DRAFTS[name](number)).id)


def _measure_log(number: int) -> Iterator[Row]:
    started = time.monotonic()
    retried, log = _compare_runs(number, has_keys=True)
    detail = (
        f"n={number} operations of {CLIENTS} clients, {log.retries} retries, "
        f"{log.refused} of them refused, {time.monotonic() - started:.0f} s"
    )
    yield at_most("rows that retries change", len(retried), 0, "rows", detail)
    yield at_most("rows that the log with retries does not rebuild", log.unreplayed, 0, "rows")
    broken, _ = _compare_runs(min(number, 400), has_keys=False)
    yield at_least("rows that retries change without keys (planted)", len(broken), 1, "rows")


def _compare_runs(number: int, *, has_keys: bool) -> tuple[list[Difference], "Log"]:
    """Play the same operations without and with retries; return where the tables differ."""
    tables = []
    log = Log(has_keys=has_keys)
    for share in (0.0, RETRIED):
        with temporary_lab() as home:
            log = Log(has_keys=has_keys)
            log.play(home, number, share)
            with closing(store.connect(home)) as connection:
                tables.append(read_tables(connection))
    return compare(*tables), log


@dataclass(slots=True)
class Log:
    """Operations of several clients that each wait for an answer, and repeat what had none.

    A client repeats an operation before its next one, with those of others in between; a create
    with a key is repeated at any time later.
    """

    has_keys: bool
    retries: int = 0
    refused: int = 0
    unreplayed: int = 0
    _now: float = 1e9
    _late: list[tuple[int, Callable[[], object]]] = field(default_factory=list)

    def play(self, home: Home, number: int, share: float) -> None:
        """Run the operations on the lab, so many of them and so many of those again."""
        order = random.Random(number)  # noqa: S311  # a fixed bench, no secret
        luck = random.Random(number + 1)  # noqa: S311  # the same operations with any share
        # No lease ends: a claim that is lost would be another history, not a retry.
        config = QueueConfig(lease_s=1e9)
        with ExitStack() as stack:
            clients = [
                Client(
                    stack.enter_context(
                        Queue(home, f"client {n}", clock=lambda: self._now, config=config)
                    ),
                    n,
                    self.has_keys,
                )
                for n in range(CLIENTS)
            ]
            for client in clients:
                # Whether a commit outlasts a power cut is another proof.
                client.queue._connection.execute("PRAGMA synchronous=OFF")
            waiting: dict[int, Callable[[], object]] = {}
            for place in range(number):
                turn = order.randrange(CLIENTS)
                if turn in waiting:
                    self._repeat(waiting.pop(turn))
                operation = clients[turn].next_operation()
                self._now += 1
                operation()
                if luck.random() < share:
                    if clients[turn].is_creating:
                        self._late.append((place + luck.randrange(LATEST_RETRY), operation))
                    else:
                        waiting[turn] = operation
                self._repeat_late(place)
            self._repeat_late(number + LATEST_RETRY)
            differences = verify(clients[0].queue).differences
        self.unreplayed = len(differences)

    def _repeat_late(self, place: int) -> None:
        for late in [item for item in self._late if item[0] <= place]:
            self._late.remove(late)
            self._repeat(late[1])

    def _repeat(self, operation: Callable[[], object]) -> None:
        self.retries += 1
        self._now += 0.5
        try:
            operation()
        except ArcFusionError:
            self.refused += 1
        self._now -= 0.5


class Client:
    """One worker: files an issue, links and labels it, claims it, writes and ends it, and again."""

    def __init__(self, queue: Queue, number: int, has_keys: bool) -> None:  # one caller
        self.queue = queue
        self.number = number
        self.has_keys = has_keys
        self.is_creating = False
        self._round = 0
        self._step = -1
        self._ids: list[str] = []

    def next_operation(self) -> Callable[[], object]:
        """Return the client's next operation, which can be run again."""
        steps = (
            self._create,
            self._label,
            self._link,
            self._claim,
            self._checkpoint,
            self._remember,
        )
        ends = (self._close, self._release, self._ask)
        self._step += 1
        if self._step == len(steps):
            self._step = -1
            return ends[self._round % len(ends)]()
        self.is_creating = self._step == 0
        return steps[self._step]()

    def _create(self) -> Callable[[], object]:
        self._round += 1
        key = f"{self.number}/{self._round}" if self.has_keys else None
        draft = Draft(title=f"issue {self._round}", idempotency_key=key, labels=("a",))
        ids, place = self._ids, len(self._ids)

        def run() -> None:
            made = self.queue.create(draft).id
            if len(ids) == place:
                ids.append(made)

        return run

    def _label(self) -> Callable[[], object]:
        issue_id = self._ids[-1]
        return lambda: self.queue.add_label(issue_id, "b")

    def _link(self) -> Callable[[], object]:
        issue_id, target = self._ids[-1], self._ids[self._round // 2]
        edge = Edge(EdgeType.RELATED, target)
        if issue_id == target:
            return lambda: self.queue.update(issue_id, {"priority": 1})
        return lambda: self.queue.add_dependency(issue_id, edge)

    def _claim(self) -> Callable[[], object]:
        issue_id, session = self._ids[-1], f"round {self._round}"

        def run() -> None:
            self.queue.session = session
            self.queue.claim(issue_id)

        return run

    def _checkpoint(self) -> Callable[[], object]:
        handoff, token = self._handoff(), self._token()
        return lambda: self.queue.checkpoint(token, handoff)

    def _remember(self) -> Callable[[], object]:
        text, key = f"seen in round {self._round}", f"client-{self.number}-{self._round % 5}"
        return lambda: self.queue.remember(text, key=key)

    def _close(self) -> Callable[[], object]:
        token = self._token()
        return lambda: self.queue.close(token, Outcome.DONE, evidence=[RAN])

    def _release(self) -> Callable[[], object]:
        handoff, token = self._handoff(), self._token()
        return lambda: self.queue.release(token, handoff)

    def _ask(self) -> Callable[[], object]:
        handoff, token = self._handoff(), self._token()
        return lambda: self.queue.release(token, handoff, question="Which width?")

    def _token(self) -> Token:
        return Token(issue_id=self._ids[-1], fence=1)

    def _handoff(self) -> Handoff:
        return Handoff(tried=f"round {self._round}", result="none", next="go on")


if __name__ == "__main__":
    _file(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
