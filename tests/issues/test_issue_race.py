import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import NothingReadyError
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import AttemptOutcome

CLAIMER = Path(__file__).with_name("claimer.py")
PROCESSES = 8
ISSUES = 200


def start(lab: Home, mode: str, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CLAIMER), f"w{number}", mode, str(number)],
        cwd=lab.workspace_path,
        stdout=subprocess.PIPE,
        text=True,
    )


def race(lab: Home, mode: str, processes: int = PROCESSES) -> list[dict]:
    with Queue(lab, "alice") as queue:
        queue.create_all([Draft(title=f"issue {n}") for n in range(ISSUES)])
    racers = [start(lab, mode, number) for number in range(processes)]
    outputs = []
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        (lab.path / "go").touch()
        outputs = [racer.communicate(timeout=60)[0] for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert [racer.returncode for racer in racers] == [0] * processes
    return [json.loads(output) for output in outputs]


def claims_per_issue(results: list[dict]) -> Counter[str]:
    return Counter(issue_id for result in results for issue_id, _ in result["won"])


@pytest.mark.sqlite  # sixteen on Postgres, below
def test_eight_processes_claim_every_issue_once(lab):
    check_race(lab, race(lab, "queue"))


@pytest.mark.postgres
def test_sixteen_processes_claim_every_issue_once_without_the_writers_lock(lab):
    check_race(lab, race(lab, "queue", 16))


def check_race(lab: Home, results: list[dict]) -> None:
    claims = claims_per_issue(results)
    assert len(claims) == ISSUES
    assert max(claims.values()) == 1
    refused = Counter[str]()
    for result in results:
        refused.update(result["refused"])
    assert set(refused) == {"AlreadyClaimedError 13"}
    with Queue(lab, "alice") as queue, closing(store.connect(lab)) as connection:
        holders = {issue.id: issue.assignee for issue in queue.list()}
        assert holders == {
            issue_id: f"w{number}"
            for number, result in enumerate(results)
            for issue_id, _ in result["won"]
        }
        events = queue.events()
        assert [event.seq for event in events] == list(range(1, 2 * ISSUES + 1))
        (leases,) = connection.execute("SELECT count(*) FROM lease").fetchone()
        (attempts,) = connection.execute("SELECT count(*) FROM attempt").fetchone()
    assert (leases, attempts) == (ISSUES, ISSUES)


@pytest.mark.sqlite
def test_a_race_leaves_a_whole_file(lab):
    race(lab, "queue")
    with closing(store.connect(lab)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_the_race_catches_a_claim_that_reads_before_it_writes(lab):
    claims = claims_per_issue(race(lab, "naive"))
    assert max(claims.values()) > 1


def claim_when_free(queue: Queue) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            return queue.claim().fence
        except NothingReadyError:
            time.sleep(0.05)
    raise AssertionError("the issue was not given back")


def test_a_killed_workers_issue_is_claimed_again_after_its_lease(lab):
    with Queue(lab, "alice") as queue:
        issue_id = queue.create(Draft(title="An issue")).id
        holder = start(lab, "hold", 0)
        try:
            assert holder.stdout is not None
            assert json.loads(holder.stdout.readline())["won"] == [[issue_id, 1]]
            with pytest.raises(NothingReadyError):
                queue.claim()
        finally:
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()
        assert claim_when_free(queue) == 2
        outcomes = [attempt.outcome for attempt in queue.show(issue_id).attempts]
    assert outcomes == [AttemptOutcome.LOST, None]
