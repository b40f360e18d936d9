"""This fails when proofs of the loop or the queue do not run, or one of their bars is missed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from arcfusion.agents.bench import queue
from arcfusion.agents.bench.loop import GROUPS

ARCFUSION = Path(sys.executable).with_name("arcfusion")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
# Their figures are timings, which other tests on the same machine disturb; the rows have to exist.
TIMED = ("wall", "tokens/s", "speed", "cycles/s", "claims per worker")
TIME_UNITS = {"ms", "s"}
# Rows that test_bench_rows.py, test_codegen_random_specs.py, test_composer.py, test_gates.py,
# test_interrupt.py or test_journey.py see in this suite.
SEEN_ELSEWHERE = {
    *("scan", "dreams", "codegen", "identity", "leaks", "noise", "overhead", "demo", "crash"),
    "suite",
}


def bench(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(ARCFUSION), "bench", *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def check_quick(name: str, groups: Sequence[str]) -> list[str]:
    """Run the groups, check their rows and return the rows' names."""
    only = [word for group in groups for word in ("--only", group)]
    code, out, err = bench(name, "--quick", "--json", *only)
    document = json.loads(out)["data"]
    assert document["bench"] == name
    assert set(document["machine"]) >= {"cores", "processor", "torch"}
    for row in document["rows"]:
        assert set(row) >= {"name", "value", "unit", "bar", "holds"}
        assert row["value"] is not None, row
        is_timed = row["unit"] in TIME_UNITS or any(word in row["name"] for word in TIMED)
        assert row["holds"] or is_timed, (row, err)
    assert code == (0 if all(row["holds"] for row in document["rows"]) else 5)
    return [row["name"] for row in document["rows"]]


def test_the_quick_proofs_of_the_loop_hold() -> None:
    assert check_quick("loop", [name for name in GROUPS if name not in SEEN_ELSEWHERE])


def test_the_quick_proofs_of_the_queue_hold() -> None:
    names = check_quick("queue", list(queue.GROUPS))
    assert len(names) == len(set(names))


@pytest.mark.parametrize("arguments", [["nothing"], ["loop", "--only", "nothing"]])
def test_an_unknown_bench_or_group_is_named(arguments: list[str]) -> None:
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert "'nothing'" in err
