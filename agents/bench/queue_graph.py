"""The dependency graph: random operations against an oracle, two writers at once, and its speed."""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from arcfusion.agents.bench.graph_play import KINDS, SEED, play
from arcfusion.agents.bench.queue_script import copy_lab, make_lab, open_unsynced
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.errors import DependencyCycleError
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EdgeType

OPERATIONS, QUICK_OPERATIONS = 100_000, 300
RACES, QUICK_RACES = 200, 6
ISSUES, QUICK_ISSUES = 20_000, 400
EDGES, QUICK_EDGES = 1_000, 60
ADD_EDGE_MS = 10.0
PROJECT_ISSUES = 50


def measure(quick: bool) -> Iterator[Row]:
    """Play random operations, race two writers, and time an edge in a large graph."""
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as name:
        directory = Path(name)
        template = make_lab(directory / "template")
        wanted = QUICK_OPERATIONS if quick else OPERATIONS
        tally = play(template, directory / "lab", wanted)
        detail = f"seed {SEED}, {tally.refused_cycles} cycles refused"
        yield at_least("graph: random operations", tally.operations, wanted, "ops", detail)
        found = "; ".join(tally.wrong_counts[:3]) or detail
        yield at_most(
            "graph: counters that differ from a count", len(tally.wrong_counts), 0, "ops", found
        )
        found = "; ".join(tally.wrong_cycles[:3]) or detail
        yield at_most(
            "graph: cycles stored, or edges refused as one",
            len(tally.wrong_cycles),
            0,
            "ops",
            found,
        )
        races = QUICK_RACES if quick else RACES
        wrong = race(copy_lab(template, directory / "race"), races)
        detail = f"{races} races of two processes"
        yield at_most(
            "graph: races to close a cycle not refused once", len(wrong), 0, "races",
            "; ".join(wrong[:3]) or detail,
        )  # fmt: skip
        yield from _time_edges(copy_lab(template, directory / "large"), quick)


def race(home: Home, num_races: int) -> list[str]:
    """Let two processes close a cycle from both sides; return the races not refused once."""
    with open_unsynced(home, "alice") as queue:
        queue.create_all(
            [Draft(title=f"r{n}{end}", id=f"r{n}{end}") for n in range(num_races) for end in "abcd"]
        )
        for n in range(num_races):
            queue.add_dependency(f"r{n}a", Edge(EdgeType.BLOCKS, f"r{n}b"))
            queue.add_dependency(f"r{n}c", Edge(EdgeType.BLOCKS, f"r{n}d"))
    wrong = []
    with ExitStack() as stack:
        racers = [stack.enter_context(_start_racer(home)) for _ in range(2)]
        for racer in racers:
            _ask(racer, "")
        for racer in racers:
            _answer(racer)
        for n in range(num_races):
            _ask(racers[0], f"r{n}b r{n}c {EdgeType.BLOCKS}")
            _ask(racers[1], f"r{n}d r{n}a {KINDS[n % 3]}")
            answers = [_answer(racer) for racer in racers]
            if sorted(answers) != ["DependencyCycleError", "stored"]:
                wrong.append(f"race {n}: {answers}")
        for racer in racers:
            _pipe(racer.stdin).close()
    return wrong


def _start_racer(home: Home) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "arcfusion.agents.bench.queue_graph", str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _ask(racer: "subprocess.Popen[str]", line: str) -> None:
    _pipe(racer.stdin).write(line + "\n")


def _answer(racer: "subprocess.Popen[str]") -> str:
    return _pipe(racer.stdout).readline().strip()


def answer_edges(home: Home) -> None:
    """Be one of the racers: store each edge that standard input names, and say how it went."""
    with Queue(home, "racer") as queue:
        for line in sys.stdin:
            said = "ready"
            if line.strip():
                a, b, kind = line.split()
                try:
                    queue.add_dependency(a, Edge(EdgeType(kind), b))
                    said = "stored"
                except ArcFusionError as error:
                    said = type(error).__name__
            sys.stdout.write(said + "\n")
            sys.stdout.flush()


def _time_edges(home: Home, quick: bool) -> Iterator[Row]:
    """Time edges of the kinds that a lab of many projects gets, each issue with two before it."""
    num_issues, num_edges = (QUICK_ISSUES, QUICK_EDGES) if quick else (ISSUES, EDGES)
    order = random.Random(SEED)  # noqa: S311  # a test's order, no secret
    with open_unsynced(home, "alice") as queue:
        queue.create_all([_draft(number, order) for number in range(num_issues)])

    def near() -> tuple[int, int]:
        first = order.randrange(num_issues // PROJECT_ISSUES) * PROJECT_ISSUES
        a, b = order.sample(range(first, first + PROJECT_ISSUES), 2)
        return a, b

    def far() -> tuple[int, int]:
        a, b = order.sample(range(num_issues), 2)
        return a, b

    with Queue(home, "alice") as queue:
        for where, choose in (("inside a project", near), ("between projects", far)):
            taken, refused = _add_edges(queue, choose, num_edges)
            taken.sort()
            p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
            yield at_most(
                f"graph: add an edge {where} at {num_issues} issues, p99", p99, ADD_EDGE_MS, "ms",
                f"n={len(taken)} p50={p50:.3g} max={taken[-1]:.3g} ms, {refused} cycles,"
                f" load {os.getloadavg()[0]:.1f}",
            )  # fmt: skip


def _draft(number: int, order: random.Random) -> Draft:
    first = number - number % PROJECT_ISSUES
    before = [order.randrange(first, number) for _ in range(2)] if number > first else []
    edges = tuple(Edge(EdgeType.BLOCKS, f"i{other}") for other in before)
    return Draft(title=f"issue {number}", id=f"i{number}", edges=edges)


def _add_edges(
    queue: Queue, choose: Callable[[], tuple[int, int]], num_edges: int
) -> tuple[list[float], int]:
    """Add edges; return the milliseconds of each, and how many were refused as a cycle."""
    taken, refused = [], 0
    for _ in range(num_edges):
        a, b = choose()
        started = time.perf_counter()
        try:
            queue.add_dependency(f"i{a}", Edge(EdgeType.BLOCKS, f"i{b}"))
        except DependencyCycleError:
            refused += 1
        taken.append((time.perf_counter() - started) * 1e3)
    return taken, refused


if __name__ == "__main__":
    answer_edges(Home(Path(sys.argv[1])))
