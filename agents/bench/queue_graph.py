"""The dependency graph: random operations against an oracle, two writers at once, and its speed."""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from arcfusion.agents.bench.graph_play import KINDS, SEED, play
from arcfusion.agents.bench.queue_crew import Load, describe, percentile
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
        yield from _time_edges(template, directory, quick)


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


def _time_edges(template: Home, directory: Path, quick: bool) -> Iterator[Row]:
    """Time edges between issues that are there, each of which waits for two before it.

    In one graph that hangs together a search passes through half of it: said beside, with no bar.
    """
    num_issues, num_edges = (QUICK_ISSUES, QUICK_EDGES) if quick else (ISSUES, EDGES)
    projects = _make_graph(copy_lab(template, directory / "projects"), num_issues, _in_project)
    whole = _make_graph(copy_lab(template, directory / "whole"), num_issues, _among_the_newest)
    order = random.Random(SEED)  # noqa: S311  # a test's order, no secret

    def far() -> list[int]:
        return order.sample(range(num_issues), 2)

    def near() -> list[int]:
        first = order.randrange(num_issues // PROJECT_ISSUES) * PROJECT_ISSUES
        return order.sample(range(first, first + PROJECT_ISSUES), 2)

    load = Load()
    inside = _add_edges(projects, near, num_edges)
    between = _add_edges(projects, far, num_edges)
    beside = _add_edges(whole, far, num_edges // 10)
    said = describe(beside, "edges in one graph of all issues", load)
    for where, taken in (("inside a project", inside), ("between projects", between)):
        yield at_most(
            f"graph: latency of an edge {where} at {num_issues} issues, p99",
            percentile(taken, 0.99) * 1e3,
            ADD_EDGE_MS,
            "ms",
            f"{describe(taken, 'edges', load)}; {said}",
        )


def _make_graph(home: Home, num_issues: int, choose: Callable[[int], int]) -> Home:
    order = random.Random(SEED)  # noqa: S311  # a test's order, no secret
    drafts = []
    for number in range(num_issues):
        before = range(choose(number), number)
        others = order.choices(before, k=2) if before else []
        edges = tuple(Edge(EdgeType.BLOCKS, f"i{other}") for other in others)
        drafts.append(Draft(title=f"issue {number}", id=f"i{number}", edges=edges))
    with open_unsynced(home, "alice") as queue:
        queue.create_all(drafts)
    return home


def _in_project(number: int) -> int:
    return number - number % PROJECT_ISSUES


def _among_the_newest(number: int) -> int:
    return max(0, number - 200)


def _add_edges(home: Home, choose: Callable[[], list[int]], num_edges: int) -> list[float]:
    """Add edges, with every commit synced; return the seconds of each, refused ones too."""
    taken = []
    with Queue(home, "alice") as queue:
        for _ in range(num_edges):
            a, b = choose()
            started = time.perf_counter()
            with suppress(DependencyCycleError):
                queue.add_dependency(f"i{a}", Edge(EdgeType.BLOCKS, f"i{b}"))
            taken.append(time.perf_counter() - started)
    return taken


if __name__ == "__main__":
    answer_edges(Home(Path(sys.argv[1])))
