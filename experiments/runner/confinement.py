"""The supervisor's hold on the confined tree: the nursery, the processes it forks, the watchdog."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from arcfusion.core.sandbox.launcher import spawn_confined
from arcfusion.core.sandbox.limits import Limits
from arcfusion.core.sandbox.process_tree import read_tree
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.sandbox.watchdog import Ending, Usage, supervise
from arcfusion.experiments.runner.channel import Channel
from arcfusion.experiments.runner.ending import (
    RunEndedError,
    describe_limit,
    describe_status,
    read_last_lines,
)
from arcfusion.experiments.runner.request import (
    ARCHIVE_FILE,
    CHILD_LOG,
    MODEL_FILE,
    RUN_FILE,
    WORK_DIRECTORY,
)

Role = Literal["train", "score"]
_READABLE = (RUN_FILE, MODEL_FILE, ARCHIVE_FILE, "train.bin", "meta.json")
# a dead child's status comes within one poll of the nursery, the watchdog's verdict within one tick
_EXPLANATION_S = 1.0
# the nursery, the training, and two scoring processes of which one is just ending
_OWN_PROCESSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that runs the model's code."""

    pid: int
    channel: Channel


class Confinement:
    """The confined tree of one run; leaving the context ends all of it."""

    def __init__(
        self,
        run_dir: Path,
        *,
        limits: Limits,
        tier: Tier,
        threads: int,
        on_tick: Callable[[Usage], None],
    ) -> None:
        self._log = run_dir / CHILD_LOG
        self._limits = replace(limits, processes=max(limits.processes, _OWN_PROCESSES))
        self._cancelled = threading.Event()
        self._ending: Ending | None = None
        self._buffer = b""
        self._control, theirs = socket.socketpair()
        mode = "restricted" if tier >= Tier.GOOD else "plain"
        archive = run_dir / ARCHIVE_FILE
        with theirs:
            self._confined = spawn_confined(
                [sys.executable, "-I", str(archive), "--child", str(run_dir),
                 str(theirs.fileno()), mode],
                workdir=run_dir / WORK_DIRECTORY,
                readable=[run_dir / name for name in _READABLE],
                writable=[run_dir / WORK_DIRECTORY],
                limits=self._limits,
                tier=tier,
                pass_fds=[theirs.fileno()],
                env={
                    "OMP_NUM_THREADS": str(threads),
                    "MKL_NUM_THREADS": str(threads),
                    # numpy's threads would be there before the fork, and are not used
                    "OPENBLAS_NUM_THREADS": "1",
                },
                output_path=self._log,
            )  # fmt: skip
        self._watch = threading.Thread(target=self._supervise, args=(on_tick,), daemon=True)
        self._watch.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> Ending:
        """End the tree, if it has not ended, and say how it did."""
        self._control.close()
        self._cancelled.set()
        self._watch.join()
        assert self._ending is not None
        return self._ending

    @property
    def is_over(self) -> bool:
        """Whether no process is left."""
        return self._ending is not None

    def fork(self, role: Role) -> Worker:
        """Start a process that has run none of the model's code yet.

        Raises:
            RunEndedError: the tree has ended.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                request = json.dumps({"role": role}).encode()
                socket.send_fds(self._control, [request], [theirs.fileno()])
                answer = self._read_answer(deadline_s=None)
                while answer is not None and "status" in answer:
                    # of an earlier process
                    answer = self._read_answer(deadline_s=None)
            except OSError:
                answer = None
        if answer is None:
            ours.close()
            raise self._explain_end()
        return Worker(pid=answer["pid"], channel=Channel(ours))

    def cancel(self) -> None:
        """Have the watchdog end the tree soon; safe in a signal handler."""
        self._cancelled.set()

    def explain(self, worker: Worker) -> RunEndedError:
        """Why a process is gone that should still be there."""
        deadline_s = time.monotonic() + _EXPLANATION_S
        while not self.is_over:
            answer = self._read_answer(deadline_s=deadline_s)
            if answer is None:
                break
            if answer.get("pid") == worker.pid and "status" in answer:
                # a limit kills all processes at once: the watchdog's verdict comes just after
                self._watch.join(timeout=0.3)
                if not self.is_over:
                    return self._describe_worker_end(answer["status"])
        return self._explain_end()

    def signal(self, worker: Worker, number: signal.Signals) -> None:
        """Send a signal to a process of the tree, if it is still there."""
        # its number may be another process's by now
        if worker.pid in read_tree(self._confined.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, number)

    def _supervise(self, on_tick: Callable[[Usage], None]) -> None:
        self._ending = supervise(
            self._confined, on_tick=on_tick, is_cancelled=self._cancelled.is_set
        )

    def _explain_end(self) -> RunEndedError:
        self._watch.join(timeout=_EXPLANATION_S)
        ending = self._ending
        if ending is None:
            return self._crash("it closed its channel")
        if ending.reason not in {"exited", "cancelled"}:
            return RunEndedError("killed", describe_limit(ending.reason, self._limits))
        code = ending.returncode
        return self._crash(f"exit status {code}" if code >= 0 else f"signal {-code}")

    def _describe_worker_end(self, status: int) -> RunEndedError:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            return RunEndedError("killed", describe_limit("cpu", self._limits))
        return self._crash(describe_status(status))

    def _crash(self, how: str) -> RunEndedError:
        last = read_last_lines(self._log)
        reason = f"a process of the model ended early, {how}"
        return RunEndedError("crashed", f"{reason}: {last}" if last else reason)

    def _read_answer(self, *, deadline_s: float | None) -> dict[str, int] | None:
        """The nursery's next line; None when it is gone or the deadline is over."""
        while b"\n" not in self._buffer:
            left_s = None if deadline_s is None else max(0.01, deadline_s - time.monotonic())
            self._control.settimeout(left_s)
            try:
                data = self._control.recv(4096)
            except TimeoutError:
                return None
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, int] = json.loads(line)
        return answer
