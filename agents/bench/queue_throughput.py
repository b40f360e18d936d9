"""Claim-and-complete cycles a second beside raw sqlite3, and how long the slowest waits.

Ours and raw run by turns in the same processes, so that both see the same disk and the same
neighbours; what counts is the median ratio of a turn of ours to the turn of raw beside it.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arcfusion.agents.bench import queue_raw
from arcfusion.agents.bench.queue_crew import (
    WORKER,
    Crew,
    Load,
    Report,
    describe,
    fill,
    percentile,
    temporary_lab,
)
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.view import View

PROCESSES = (1, 16, 32, 64)
AT = 32  # where latencies are judged
ROUNDS, ROUND_S, BEATING_S = 6, 2.5, 6.0
MIN_RATIO = 0.4
CLAIM_P99_S, CLAIM_MAX_S, MAX_UNEVEN = 0.5, 1.0, 4.0
FIRST_GUESS_PER_S = 2_500


@dataclass(slots=True)
class Turns:
    """What some processes did, over the turns of each side.

    Attributes:
        ours: cycles a second of each turn.
        raw: the same of raw sqlite3.
        claims: seconds of each claim of ours.
        raw_claims: seconds of each raw claim.
        beats: seconds of each heartbeat.
        per_worker: cycles of ours of each worker.
        busy: calls that heard that the database is locked.
    """

    ours: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    claims: list[float] = field(default_factory=list)
    raw_claims: list[float] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    per_worker: list[int] = field(default_factory=list)
    busy: int = 0

    @property
    def ratio(self) -> float:
        """The median of ours over raw, turn by turn."""
        return statistics.median(
            ours / raw if raw else 0.0 for ours, raw in zip(self.ours, self.raw, strict=True)
        )


def measure(quick: bool) -> Iterator[Row]:
    """Run the turns for each number of processes."""
    load = Load()
    for n_processes in (4,) if quick else PROCESSES:
        if quick:
            turns = run_turns(n_processes, rounds=1, seconds=0.5, beating_s=0.5)
        else:
            beating_s = BEATING_S if n_processes == AT else 0.0
            turns = run_turns(n_processes, rounds=ROUNDS, seconds=ROUND_S, beating_s=beating_s)
        load.sample()
        yield _ratio_row(n_processes, turns, load)
        if quick or n_processes == AT:
            yield from _latency_rows(n_processes, turns, load)


def run_turns(
    n_processes: int,
    *,
    rounds: int,
    seconds: float,
    beating_s: float,
    program: Sequence[str] = WORKER,
) -> Turns:
    """Run ours and raw by turns, and at last one turn in which each cycle has a heartbeat."""
    turns = Turns(per_worker=[0] * n_processes)
    with temporary_lab() as home:
        raw = home.path / "raw.db"
        queue_raw.create(raw)
        settings = [{"raw": str(raw)}] * n_processes
        with Crew(home, "cycle", settings, program=program) as crew:
            crew.hear()
            for number in range(rounds):
                # Whoever begins meets other neighbours: each side begins as often.
                for side in ("ours", "raw") if number % 2 == 0 else ("raw", "ours"):
                    _top_up(home, raw, turns, seconds)
                    _gather(turns, side, crew.ask(side=side, seconds=seconds))
            if beating_s:
                _top_up(home, raw, turns, beating_s)
                _gather(turns, "beating", crew.ask(side="beating", seconds=beating_s))
    return turns


def _top_up(home: Home, raw: Path, turns: Turns, seconds: float) -> None:
    """See that neither side runs out of work: half as much again as it did at its best."""
    wanted = [
        int(1.5 * seconds * max([*rates, 0 if rates else FIRST_GUESS_PER_S]))
        for rates in (turns.ours, turns.raw)
    ]
    with View(home) as view:
        found = view.ready_count()
    if found < wanted[0]:
        fill(home, wanted[0] - found)
    queue_raw.top_up(raw, wanted[1])


def _gather(turns: Turns, side: str, reports: Sequence[Report]) -> None:
    """Add a turn's cycles and times to those of its side."""
    rate = sum(report["cycles"] for report in reports) / max(
        report["elapsed_s"] for report in reports
    )
    turns.busy += sum(report["busy"] for report in reports)
    seconds = [second for report in reports for second in report["seconds"]]
    match side:
        case "ours":
            turns.ours.append(rate)
            turns.claims += seconds
            for worker, report in enumerate(reports):
                turns.per_worker[worker] += report["cycles"]
        case "raw":
            turns.raw.append(rate)
            turns.raw_claims += seconds
        case _:
            turns.beats += seconds


def _ratio_row(n_processes: int, turns: Turns, load: Load) -> Row:
    ours, raw = (", ".join(f"{rate:.0f}" for rate in rates) for rates in (turns.ours, turns.raw))
    return at_least(
        f"claim-and-complete cycles/s beside raw sqlite3, {n_processes} processes",
        turns.ratio,
        MIN_RATIO,
        "of raw",
        f"ours {ours}; raw {raw} cycles/s; busy {turns.busy}; "
        + describe(turns.claims, "claims", load),
    )


def _latency_rows(n_processes: int, turns: Turns, load: Load) -> Iterator[Row]:
    detail = describe(turns.claims, "claims", load)
    where = f"{n_processes} processes"
    p99_ms = percentile(turns.claims, 0.99) * 1e3
    yield at_most(f"claim latency p99, {where}", p99_ms, CLAIM_P99_S * 1e3, "ms", detail)
    yield at_most(
        f"claim latency max, {where}",
        max(turns.claims) * 1e3,
        CLAIM_MAX_S * 1e3,
        "ms",
        f"{detail}; raw max {max(turns.raw_claims) * 1e3:.3g} ms",
    )
    least, most = min(turns.per_worker), max(turns.per_worker)
    yield at_most(
        f"claims per worker, max / min, {where}",
        most / least if least else float("inf"),
        MAX_UNEVEN,
        "times",
        f"n={n_processes} min={least} max={most}, {load}",
    )
    yield at_most(
        f"heartbeat latency p99.9, {where} claiming",
        percentile(turns.beats, 0.999) * 1e3,
        QueueConfig().lease_s / 10 * 1e3,
        "ms",
        describe(turns.beats, "heartbeats", load),
    )
