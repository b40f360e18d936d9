"""How a run can end before it has a score, and the words for it."""

import os
import re
import signal
from pathlib import Path

from arcfusion.core.errors import ArcFusionError
from arcfusion.core.sandbox.limits import MEBIBYTE, Limits
from arcfusion.core.sandbox.watchdog import Reason
from arcfusion.experiments.runner.request import Outcome

_LOG_BYTES = 4096
_REASON_CHARACTERS = 600
_REASON_LINES = 4


class RunEndedError(ArcFusionError):
    """The run ended without a score."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome: Outcome = outcome
        self.reason = reason


class RunInterruptedError(ArcFusionError):
    """The supervisor was asked to stop; the run can be resumed."""


def describe_limit(reason: Reason, limits: Limits) -> str:
    """Which limit ended the tree, with its value."""
    values = {
        "wall": f"it ran longer than {limits.wall_s:g} s",
        "cpu": f"it used more than {limits.cpu_s} s of processor time",
        "memory": f"it used more than {limits.memory_bytes / MEBIBYTE:.0f} MiB of memory",
        "disk": f"it wrote more than {limits.disk_bytes / MEBIBYTE:.0f} MiB to disk",
        "processes": f"it started more than {limits.processes} processes",
        "output": f"it printed more than {limits.output_bytes / MEBIBYTE:.1f} MiB",
    }
    return f"{reason} limit: {values.get(reason, 'ended')}"


def describe_status(status: int) -> str:
    """What a wait status says."""
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def read_last_lines(path: Path) -> str:
    """The end of a log that untrusted code wrote, as one line of printable ASCII."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = file.read().decode("ascii", errors="replace")
    except OSError:
        return ""
    printable = re.sub(r"[^\x20-\x7e\n]", "?", text)
    lines = [line.strip() for line in printable.splitlines() if line.strip()]
    return " | ".join(lines[-_REASON_LINES:])[-_REASON_CHARACTERS:]
