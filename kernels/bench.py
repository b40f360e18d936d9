"""How long the scan takes, forward and backward, for each of its backends.

Shapes: B batch, L time, D channel, N state.
"""

import statistics
import time
from dataclasses import dataclass

import torch

from arcfusion.kernels.scan.api import SCAN
from arcfusion.kernels.testing import make_scan_case


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTiming:
    """Medians for one backend, one thread."""

    backend: str
    forward_ms: float
    backward_ms: float

    @property
    def total_ms(self) -> float:
        """Forward and backward together."""
        return self.forward_ms + self.backward_ms


def measure(
    *, batch: int, length: int, channels: int, states: int, repeats: int, seed: int
) -> dict[str, ScanTiming]:
    """Time each backend of the scan in fp32, without gate and bias, on one thread.

    The backends take turns, so that a change of the machine's load meets all of them; one
    round of warm-up is not counted. The number of torch threads is restored afterwards.
    """
    case = make_scan_case(
        batch=batch, length=length, channels=channels, states=states, dt_max=0.1, seed=seed
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [
            {backend.name: _time_once(backend.name, case) for backend in SCAN.backends}
            for _ in range(repeats + 1)
        ][1:]
    finally:
        torch.set_num_threads(threads)
    return {
        backend.name: ScanTiming(
            backend=backend.name,
            forward_ms=statistics.median(r[backend.name][0] for r in rounds),
            backward_ms=statistics.median(r[backend.name][1] for r in rounds),
        )
        for backend in SCAN.backends
    }


def _time_once(name: str, case: dict[str, torch.Tensor]) -> tuple[float, float]:
    (function,) = (backend.function for backend in SCAN.backends if backend.name == name)
    names = ("u_BLD", "dt_BLD", "A_DN", "B_BLN", "C_BLN")
    leaves = [case[name].clone().requires_grad_() for name in names]
    start = time.perf_counter()
    y = function(*leaves)
    middle = time.perf_counter()
    assert isinstance(y, torch.Tensor)
    torch.autograd.grad(y, leaves, torch.ones_like(y))
    return (middle - start) * 1e3, (time.perf_counter() - middle) * 1e3
