"""One row of a bench, and the machine it was measured on."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure beside its bar.

    Attributes:
        name: what was measured.
        value: the figure; None when it could not be measured, and then `holds` is False.
        unit: of the value and the bar; for counts, what is counted.
        bar: the bar, in words with its comparison, such as "<= 240".
        holds: whether the value keeps the bar.
        detail: n, spread, or why there is no figure.
    """

    name: str
    value: float | None
    unit: str
    bar: str
    holds: bool
    detail: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the row as JSON fields."""
        return asdict(self)


def at_most(name: str, value: float, bar: float, unit: str, detail: str = "") -> Row:
    """Return a row whose value has to be at most the bar."""
    return Row(name, value, unit, f"<= {bar:g}", value <= bar, detail)


def at_least(name: str, value: float, bar: float, unit: str, detail: str = "") -> Row:
    """Return a row whose value has to be at least the bar."""
    return Row(name, value, unit, f">= {bar:g}", value >= bar, detail)


def unmeasured(name: str, unit: str, bar: str, why: str) -> Row:
    """Return a row without a figure; it does not hold."""
    return Row(name, None, unit, bar, holds=False, detail=f"unmeasured: {why}")


def spread(values: Sequence[float]) -> str:
    """Return n, median, minimum and maximum, as text."""
    median = statistics.median(values)
    return f"n={len(values)} median={median:.4g} min={min(values):.4g} max={max(values):.4g}"


def describe_machine() -> dict[str, str | int | float]:
    """Return what a reader needs to judge a timing: processor, cores, memory, load, versions."""
    import sqlite3
    from importlib.metadata import version

    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory_bytes / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": version("torch"),
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
