"""This fails when a proof of the queue would not see the defect that it is there for."""

import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from arcfusion.agents.bench import queue_claims, queue_reclaim, queue_stalls, queue_zombies
from arcfusion.agents.bench.queue_crew import Load, percentile, temporary_lab
from arcfusion.agents.bench.queue_throughput import MIN_RATIO, run_turns
from arcfusion.issues.queue import Queue

MUTANT = Path(__file__).with_name("queue_mutant.py")


def program(defect: str) -> tuple[str, ...]:
    return (sys.executable, str(MUTANT), defect)


def race(defect: str) -> queue_claims.Tally:
    tally = queue_claims.Tally()
    with temporary_lab() as home:
        queue_claims.race(home, tally, n_workers=6, n_issues=60, seed=1, program=program(defect))
    return tally


def test_a_claim_that_reads_before_it_writes_is_seen_to_claim_twice():
    tally = race("select_then_update")
    assert tally.claimed_twice > 0
    assert tally.lost > 0
    assert tally.off > 0
    assert tally.damaged == 1


def test_a_transaction_that_begins_as_a_reader_is_seen_to_be_locked_out():
    assert race("deferred").busy > 0


def test_a_slow_claim_is_seen_beside_raw_sqlite():
    turns = run_turns(2, rounds=1, seconds=0.5, beating_s=0, program=program("slow"))
    assert turns.ratio < MIN_RATIO
    assert percentile(turns.claims, 0.5) > 0.05


def kill_three(**options) -> queue_reclaim.Tally:
    tally = queue_reclaim.Tally()
    with temporary_lab() as home:
        queue_reclaim.kill_wave(
            home, tally, n_victims=3, span_s=0.4, generator=random.Random(1), **options
        )
    return tally


def test_a_checkpoint_that_is_not_kept_is_missed_at_the_next_claim():
    tally = kill_three(program=program("forgetful"))
    assert len(tally.seconds) == 3
    assert tally.forgotten > 0


def test_a_lease_that_is_given_back_too_late_is_seen(monkeypatch):
    late = partial(Queue, clock=lambda: time.time() - 0.5)
    monkeypatch.setattr(queue_reclaim, "Queue", late)
    tally = kill_three()
    assert tally.late > 0
    assert min(tally.seconds) > queue_reclaim.LEASE_S


def test_a_lease_shorter_than_a_stall_is_seen_to_be_stolen():
    found = queue_stalls.stall_writers(
        n_holders=2, lease_s=0.4, scale=0.12, duration_s=1.5, load=Load()
    )
    assert found.stolen > 0
    assert found.stopped > 0


def test_a_write_without_a_fence_is_seen_to_come_through():
    tally = queue_zombies.haunt(
        n_rounds=1, at_once=3, lease_s=0.3, load=Load(), program=program("unfenced")
    )
    assert tally.answers["comment: written"] == 3
    assert tally.answers["close: ClaimLostError 13"] == 3
    assert tally.changed == 3


def test_a_worker_starts_without_heavy_libraries():
    code = (
        "import sys, arcfusion.agents.bench.queue_worker;"
        "print({'torch', 'sqlmodel', 'sqlalchemy', 'pydantic', 'typer', 'rich'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_a_percentile_is_a_value_that_enough_values_do_not_pass():
    values = [float(value) for value in range(1, 1001)]
    assert (percentile(values, 0.5), percentile(values, 0.999)) == (500, 999)
    assert percentile([7.0], 0.99) == 7
