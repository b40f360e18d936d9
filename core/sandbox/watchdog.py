"""Holds a confined process tree to its limits from outside, and ends the whole of it."""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arcfusion.core.sandbox import privilege, process_tree
from arcfusion.core.sandbox.launcher import Confined

Reason = Literal["exited", "wall", "cpu", "memory", "disk", "processes", "output", "cancelled"]
_INTERVAL_S = 0.15
_SIGXCPU = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the tree uses now."""

    elapsed_s: float
    memory_bytes: int
    disk_bytes: int
    processes: int
    output_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a confined program ended.

    Attributes:
        reason: "exited" by itself (also by a signal), or the limit that ended it.
        returncode: as subprocess has it: negative is a signal.
        peak_memory_bytes: largest resident size that was seen.
        elapsed_s: seconds from start to end.
        survivors: processes that could not be killed; 0 unless the kernel holds one.
    """

    reason: Reason
    returncode: int
    peak_memory_bytes: int
    elapsed_s: float
    survivors: int


def supervise(
    confined: Confined,
    *,
    on_tick: Callable[[Usage], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    interval_s: float = _INTERVAL_S,
) -> Ending:
    """Watch until the program ends or breaks a limit; afterwards no process of it is left.

    Args:
        confined: what `spawn_confined` returned.
        on_tick: called with the usage at every look.
        is_cancelled: asked at every look; True ends the tree.
        interval_s: seconds between two looks.
    """
    if sys.platform.startswith("linux") and confined.may_fork:
        privilege.adopt_orphans(privilege.load_libc())
    peak = 0
    reason: Reason = "exited"
    try:
        while confined.process.poll() is None:
            usage = _measure(confined)
            peak = max(peak, usage.memory_bytes, process_tree.read_peak_memory(confined.pid))
            if on_tick is not None:
                on_tick(usage)
            broken = _find_breach(confined, usage)
            if broken is None and is_cancelled is not None and is_cancelled():
                broken = "cancelled"
            if broken is not None:
                reason = broken
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                confined.process.wait(timeout=interval_s)
    finally:
        # also when the caller's tick fails: nothing runs on without being watched
        survivors = process_tree.kill_tree(confined.pid, adopted=_adopted(confined))
    returncode = confined.process.wait()
    elapsed_s = time.monotonic() - confined.started_s
    if reason == "exited":
        reason = _find_late_breach(confined, returncode)
    if peak == 0:
        peak = _read_children_peak()
    return Ending(
        reason=reason,
        returncode=returncode,
        peak_memory_bytes=peak,
        elapsed_s=elapsed_s,
        survivors=survivors,
    )


def _measure(confined: Confined) -> Usage:
    pids = process_tree.read_tree(confined.pid, adopted=_adopted(confined))
    return Usage(
        elapsed_s=time.monotonic() - confined.started_s,
        memory_bytes=process_tree.measure_memory(pids, limit_bytes=confined.limits.memory_bytes),
        disk_bytes=process_tree.measure_disk(confined.writable, pids),
        processes=len(pids),
        output_bytes=_measure_output(confined),
    )


def _find_breach(confined: Confined, usage: Usage) -> Reason | None:
    limits = confined.limits
    breaches: tuple[tuple[Reason, bool], ...] = (
        ("memory", usage.memory_bytes > limits.memory_bytes),
        ("processes", usage.processes > limits.processes),
        ("disk", usage.disk_bytes > limits.disk_bytes),
        ("output", usage.output_bytes > limits.output_bytes),
        ("wall", usage.elapsed_s > limits.wall_s),
    )
    return next((reason for reason, broken in breaches if broken), None)


def _find_late_breach(confined: Confined, returncode: int) -> Reason:
    """What broke a limit between two looks, and ended by the kernel's bound or by itself."""
    if returncode == -_SIGXCPU:
        return "cpu"
    if _measure_output(confined) > confined.limits.output_bytes:
        return "output"
    return "exited"


def _measure_output(confined: Confined) -> int:
    if confined.output_path is None or not confined.output_path.exists():
        return 0
    return confined.output_path.stat().st_size - confined.output_start_bytes


def _adopted(confined: Confined) -> set[int]:
    """Descendants whose parent ended, so that they are this process's children now."""
    if not confined.may_fork:
        return set()
    return process_tree.read_children(os.getpid()) - confined.siblings - {confined.pid}


def _read_children_peak() -> int:
    """For systems without /proc: the largest child of this process ever, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
