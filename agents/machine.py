"""What this machine has for a worker to offer, looked at without loading torch."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
_TIMEOUT_S = 20
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that a process here may use.

    Attributes:
        count: none where there is no driver.
        memory_bytes: of the smallest one.
    """

    count: int
    memory_bytes: int


def find_gpus() -> Gpus:
    """Ask the driver's own tool; CUDA_VISIBLE_DEVICES hides what it hides from CUDA."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Gpus(0, 0)
    try:
        done = subprocess.run(
            [tool, *_QUERY], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        # A tool without a driver: there is nothing to offer.
        return Gpus(0, 0)
    return select_gpus(done.stdout.splitlines(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def select_gpus(lines: Sequence[str], visible: str | None) -> Gpus:
    """Return what is visible of the devices.

    Args:
        lines: MiB of each device, as the tool prints them.
        visible: CUDA_VISIBLE_DEVICES: indexes or names with commas; CUDA stops at the first one
            that is no device. None hides nothing.
    """
    sizes = [int(line) * _MIB for line in lines if line.strip().isdecimal()]
    if visible is not None:
        shown = []
        for name in (part.strip() for part in visible.split(",")):
            if name.isdecimal() and int(name) < len(sizes):
                shown.append(sizes[int(name)])
            elif name.startswith(("GPU-", "MIG-")) and sizes:
                # Which one it is is not asked: the smallest is the safe answer.
                shown.append(min(sizes))
            else:
                break
        sizes = shown
    return Gpus(len(sizes), min(sizes, default=0))
