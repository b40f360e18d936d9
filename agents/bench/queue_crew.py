"""What the queue's proofs share: a lab that goes away again, worker processes, and figures.

Workers are operating system processes that are started first and then told, line by line, what to
do: whatever they import or open is done before anything is measured.
"""

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from arcfusion.core import store
from arcfusion.core.home import DIRECTORY_NAME, Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue

WORKER = (sys.executable, "-m", "arcfusion.agents.bench.queue_worker")
# Each loss and failure counts towards quarantine, which is not what these proofs are about.
MAX_ATTEMPTS = 1000

Report = dict[str, Any]  # a line of JSON from a worker


@contextmanager
def temporary_lab() -> Iterator[Home]:
    """Make an empty lab; it is removed at the end, and `ARCFUSION_HOME` is not looked at."""
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as name:
        home = Home(Path(name) / DIRECTORY_NAME)
        home.path.mkdir()
        store.create(home)
        yield home


def fill(home: Home, n_issues: int) -> list[str]:
    """File issues that are ready, and return their ids."""
    with Queue(home, "filer", config=QueueConfig(max_attempts=MAX_ATTEMPTS)) as queue:
        filed = queue.create_all([Draft(title=f"Issue {number}") for number in range(n_issues)])
    return [issue.id for issue, _ in filed]


class WorkerDiedError(Exception):
    """A worker ended without an answer; its traceback is on stderr."""


class Crew:
    """Worker processes of one role, ready to be told what to do.

    Args:
        home: the lab.
        role: a name of `queue_worker.ROLES`.
        settings: one mapping a worker, given to its role; the actor is `ROLE0`, `ROLE1`, ...
        program: what is started; a test gives one with a planted defect.
    """

    def __init__(
        self,
        home: Home,
        role: str,
        settings: Sequence[Mapping[str, object]],
        *,
        program: Sequence[str] = WORKER,
    ) -> None:
        self.actors = [f"{role}{number}" for number in range(len(settings))]
        self._processes: list[subprocess.Popen[str]] = []
        for actor, own in zip(self.actors, settings, strict=True):
            document = {
                "home": str(home.path),
                "database": home.database,
                "actor": actor,
                "settings": dict(own),
            }
            process = subprocess.Popen(
                [*program, role, json.dumps(document)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def hear(self) -> list[Report]:
        """Return the next answer of each worker, in their order.

        Raises:
            WorkerDiedError: one ended instead.
        """
        reports: list[Report] = []
        for actor, process in zip(self.actors, self._processes, strict=True):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise WorkerDiedError(f"{actor} ended without an answer")
            reports.append(json.loads(line))
        return reports

    def tell(self, **order: object) -> None:
        """Give all workers the same order."""
        text = json.dumps(order) + "\n"
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(text)
            process.stdin.flush()

    def ask(self, **order: object) -> list[Report]:
        """Give all workers the order and return what each answers."""
        self.tell(**order)
        return self.hear()

    def stop(self) -> None:
        """Suspend all workers and wait until they are."""
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)
        for process in self._processes:
            os.waitpid(process.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let suspended workers go on."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)

    def kill(self, number: int) -> None:
        """End one worker with SIGKILL and wait until it is gone."""
        self._processes[number].kill()
        self._processes[number].wait()


class Load:
    """The machine's load average over one minute, sampled while a proof runs."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self.sample()

    def sample(self) -> None:
        """Look at the load now."""
        self._samples.append(os.getloadavg()[0])

    def __str__(self) -> str:
        self.sample()
        return f"load {statistics.mean(self._samples):.1f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (above 0, to 1) of the values do not pass."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def describe(seconds: Sequence[float], what: str, load: Load) -> str:
    """Return n, p50, p99 and maximum of times in milliseconds, and the load, as text."""
    if not seconds:
        return f"n=0 {what}, {load}"
    p50, p99 = (percentile(seconds, share) * 1e3 for share in (0.5, 0.99))
    return (
        f"n={len(seconds)} {what} p50={p50:.3g} p99={p99:.3g} max={max(seconds) * 1e3:.3g} ms,"
        f" {load}"
    )
