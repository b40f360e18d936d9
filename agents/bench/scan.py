"""The fast scan against the plain loop: how far off, and how much faster."""

import math
from collections.abc import Iterable, Iterator

from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.agents.bench.thread import one_thread

LENGTHS = (1, 2, 63, 64, 65, 1000)
LARGEST_DTS = (0.01, 1.0, 10.0)
OUTPUTS = ("y", "state")
BAR = 1e-5


def measure(quick: bool) -> Iterator[Row]:
    """Relative rms error in fp32 of outputs and of all gradients, the truth in fp64; then speed."""
    lengths = LENGTHS[:-1] if quick else LENGTHS
    with one_thread():
        errors = [_find_errors(length, dt_max) for length in lengths for dt_max in LARGEST_DTS]
        stress_errors = [_find_stress_errors(length) for length in lengths]
    detail = f"T in {lengths}, dt up to {max(LARGEST_DTS):g}, fp32 against fp64"
    for part, is_output in (("outputs", True), ("gradients", False)):
        worst = largest(
            value
            for found in errors
            for name, value in found.items()
            if (name in OUTPUTS) == is_output
        )
        yield at_most(f"scan, chunked against reference: {part}", worst, BAR, "rel. rms", detail)
    yield at_most(
        "scan, where the cumulative decay underflows: outputs and gradients",
        largest(value for found in stress_errors for value in found.values()),
        BAR,
        "rel. rms",
        f"T in {lengths}, steps of size 0 between large ones",
    )
    yield measure_speed(quick)


def measure_speed(quick: bool) -> Row:
    """Forward and backward of the chunked scan beside the loop, one thread; medians."""
    from arcfusion.kernels import bench

    length, repeats = (128, 2) if quick else (512, 5)
    timings = bench.measure(
        batch=4, length=length, channels=128, states=16, repeats=repeats, seed=0
    )
    chunked, reference = timings["chunked"], timings["reference"]
    return at_least(
        "scan, speed of chunked over reference",
        reference.total_ms / chunked.total_ms,
        1,
        "x",
        f"forward + backward {chunked.total_ms:.3g} ms against {reference.total_ms:.3g} ms, "
        f"B 4 T {length} D 128 N 16, n={repeats}, one thread",
    )


def _find_errors(length: int, dt_max: float) -> dict[str, float]:
    from arcfusion.kernels.scan.chunked import selective_scan_chunked
    from arcfusion.kernels.testing import make_scan_case, scan_errors

    case = make_scan_case(
        batch=2, length=length, channels=12, states=16, dt_max=dt_max, seed=length
    )
    return scan_errors(selective_scan_chunked, case)


def _find_stress_errors(length: int) -> dict[str, float]:
    from arcfusion.kernels.scan.chunked import selective_scan_chunked
    from arcfusion.kernels.testing import make_stress_case, scan_errors

    case = make_stress_case(batch=2, length=length, channels=12, states=16, seed=length)
    return scan_errors(selective_scan_chunked, case)


def largest(values: Iterable[float]) -> float:
    """Return the largest value; infinity for NaN, which max() may pass over."""
    return max(math.inf if math.isnan(value) else value for value in values)
