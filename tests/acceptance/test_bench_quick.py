"""This fails when the closed loop's proofs do not run, or one of their bars does not hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcfusion.agents.bench.loop import GROUPS

ARCFUSION = Path(sys.executable).with_name("arcfusion")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
# Their figures are timings, which other tests on the same machine disturb; the rows have to exist.
TIMED = ("wall", "tokens/s", "speed")
# Rows that test_bench_rows.py, test_codegen_random_specs.py or test_journey.py see in this suite.
SEEN_ELSEWHERE = {"scan", "codegen", "identity", "noise", "overhead", "demo", "suite"}


def bench(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(ARCFUSION), "bench", *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_the_quick_proofs_hold(tmp_path: Path) -> None:
    groups = [name for name in GROUPS if name not in SEEN_ELSEWHERE]
    only = [word for name in groups for word in ("--only", name)]
    code, out, err = bench("loop", "--quick", "--json", *only)
    document = json.loads(out)["data"]
    assert document["bench"] == "loop"
    assert set(document["machine"]) >= {"cores", "processor", "torch"}
    for row in document["rows"]:
        assert set(row) >= {"name", "value", "unit", "bar", "holds"}
        assert row["value"] is not None, row
        assert row["holds"] or any(word in row["name"] for word in TIMED), (row, err)
    assert code == (0 if all(row["holds"] for row in document["rows"]) else 5)


@pytest.mark.parametrize("arguments", [["nothing"], ["loop", "--only", "nothing"]])
def test_an_unknown_bench_or_group_is_named(arguments: list[str]) -> None:
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert "'nothing'" in err
