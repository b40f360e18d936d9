"""What a worker waits for when it asks: whole verbs as processes, and the ready query by itself.

A verb's time is that of its process, from fork to exit, with the package compiled. Between the
verbs the same loop times a bare interpreter: the floor under each.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from arcfusion.agents.bench.record import Row, at_most
from arcfusion.core import store
from arcfusion.core.home import Home, new_home
from arcfusion.issues.claims import next_sql
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EdgeType
from arcfusion.issues.view import View

VERB_BAR_MS = 150
COMPETITOR_MS = 103  # bd ready --json at 10,000 issues, a compiled binary
QUERY_BARS_MS = {20_000: 1.0, 100_000: 2.0}
RATIO_BAR = 3.0
CHUNK = 1000


def measure(quick: bool) -> Iterator[Row]:
    """Time ready, claim, heartbeat and close, then the query; the median counts."""
    size, rounds = (1_000, 3) if quick else (10_000, 21)
    sizes = (500, 1_000, 5_000) if quick else (10_000, 20_000, 100_000)
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as directory:
        home = new_home(Path(directory))
        store.create(home)
        fill(home, size)
        yield from _measure_verbs(home, size, rounds)
        figures = {}
        for wanted in sizes:
            fill(home, wanted)
            figures[wanted] = _time_queries(home, 50 if quick else 300)
        bars = dict(zip(sizes[1:], QUERY_BARS_MS.values(), strict=True))
        yield from _query_rows(figures, bars)


def fill(home: Home, size: int) -> None:
    """File issues until there are so many; every tenth waits for the one before it."""
    with Queue(home, "bench") as queue:
        present = sum(queue.counts().values())
        for start in range(present, size, CHUNK):
            queue.create_all([_draft(number) for number in range(start, min(start + CHUNK, size))])


def _draft(number: int) -> Draft:
    waits = number % 10 == 9
    return Draft(
        id=f"arcfusion-{number:06d}",
        title=f"issue {number}",
        description="What there is to do, in a sentence or two that a worker reads.",
        priority=number % 5,
        labels=("even",) if number % 2 == 0 else (),
        edges=(Edge(EdgeType.BLOCKS, f"arcfusion-{number - 1:06d}"),) if waits else (),
    )


def _measure_verbs(home: Home, size: int, rounds: int) -> Iterator[Row]:
    executable = str(Path(sys.executable).with_name("arcfusion"))
    seconds: dict[str, list[float]] = defaultdict(list)
    cpu_s: dict[str, list[float]] = defaultdict(list)

    def ask(name: str, *command: str) -> str:
        before = _children_cpu_s()
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=home.workspace_path,
            env=_environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        seconds[name].append(time.perf_counter() - started)
        cpu_s[name].append(_children_cpu_s() - before)
        return done.stdout

    for _ in range(rounds + 1):
        ask("python", sys.executable, "-c", "pass")
        ask("ready", executable, "issue", "ready", "--json")
        claim = json.loads(ask("claim", executable, "issue", "claim", "--json"))["data"]
        held = (claim["id"], "--fence", str(claim["fence"]), "--json")
        ask("heartbeat", executable, "issue", "heartbeat", *held)
        ask("close", executable, "issue", "close", *held, "--outcome", "wontdo", "--reason", "no")
    for verb in ("ready", "claim", "heartbeat", "close"):
        yield at_most(
            f"arcfusion issue {verb} --json, whole process, {size:,} issues, p50",
            _middle_ms(seconds[verb]),
            VERB_BAR_MS,
            "ms",
            f"{_describe(seconds[verb][1:])}, processor {_middle_ms(cpu_s[verb]):.0f} ms;"
            f" python alone {_middle_ms(seconds['python']):.0f} ms; bd {COMPETITOR_MS} ms",
        )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    # The first, uncounted round compiles the package, as an installation does.
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ARCFUSION_") and name != "PYTHONDONTWRITEBYTECODE"
    }


def _time_queries(home: Home, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with View(home) as view, view.snapshot() as connection:
        sql = next_sql("")
        found["View.ready(10)"] = _time(lambda: view.ready(10), rounds)
        now = view.now()
        found["next_sql"] = _time(lambda: connection.execute(sql, (now,)).fetchone(), rounds)
    return found


def _time(ask: Callable[[], object], rounds: int) -> list[float]:
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def _query_rows(
    figures: Mapping[int, Mapping[str, list[float]]], bars: Mapping[int, float]
) -> Iterator[Row]:
    smallest, largest = min(figures), max(figures)
    for name in figures[smallest]:
        for size, bar in bars.items():
            seconds = figures[size][name]
            middle = statistics.median(seconds) * 1e3
            yield at_most(f"{name}, {size:,} issues, p50", middle, bar, "ms", _describe(seconds))
        ratio = statistics.median(figures[largest][name]) / statistics.median(
            figures[smallest][name]
        )
        yield at_most(
            f"{name}: p50 at {largest:,} issues / p50 at {smallest:,}", ratio, RATIO_BAR, "times"
        )


def _middle_ms(seconds: list[float]) -> float:
    return statistics.median(seconds[1:]) * 1e3


def _describe(seconds: list[float]) -> str:
    """Return n, p50, p99, the longest and the machine's load."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return (
        f"n={len(ordered)} p50={statistics.median(ordered) * 1e3:.3g}"
        f" p99={p99 * 1e3:.3g} max={ordered[-1] * 1e3:.3g} ms, load {os.getloadavg()[0]:.1f}"
    )
