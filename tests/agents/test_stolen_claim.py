"""This fails when a worker whose claim has ended can still write anything into the lab."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest

from arcfusion.agents import conclusion, loop
from arcfusion.agents.assignment import Assignment, Entry, Plan
from arcfusion.agents.guard import Guard
from arcfusion.agents.measurement import save_architectures
from arcfusion.agents.pull_request import Review
from arcfusion.agents.roles.dreamer import plan_dreams
from arcfusion.agents.session import SessionLog, store_plan
from arcfusion.agents.study import Study
from arcfusion.agents.workspace import Author, Workspace
from arcfusion.core import store
from arcfusion.core.errors import LostGuardError
from arcfusion.core.home import Home
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.spec import ArchSpec
from arcfusion.experiments import experiment
from arcfusion.experiments.protocol import Protocol
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import ClaimLostError
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.states import Outcome

HANDOFF = Handoff(tried="a", result="b", next="c")
REVIEW = Review(branch="agent/x", title="t", body="b", files={"a.txt": "1"}, message="m")
TWO = [SimpleNamespace(name="a", fingerprint="a"), SimpleNamespace(name="b", fingerprint="b")]


@pytest.fixture
def assignment(home: Home, claim: Claim) -> Iterator[Assignment]:
    Workspace(home.workspace_path).create({"a": "0"}, message="first", author=Author("person"))
    config = QueueConfig()
    with Queue(home, "tester", config=config) as queue:
        guard = Guard(home, "tester", claim, config, asked_at=time.monotonic())
        log = SessionLog(home, issue_id=claim.issue_id, fence=claim.fence, guard=guard.hold)
        yield Assignment(
            home=home,
            queue=queue,
            claim=claim,
            actor="tester",
            seed=0,
            parallel=1,
            tier=Tier.GOOD,
            log=log,
            check=guard.check,
            guard=guard.hold,
            say=lambda _text: None,
        )


def conditions(assignment: Assignment) -> experiment.Conditions:
    return experiment.Conditions(parallel=1, tier=Tier.GOOD, guard=assignment.guard)


def gate(assignment: Assignment) -> None:
    report = SimpleNamespace(results=(), verdict="pass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arcfusion.experiments.gates.confined.gate_source", lambda *_, **__: report)
        candidate = SimpleNamespace(
            source="", vocab_size=1, d_model=1, n_layers=1, fingerprint="net-a"
        )
        loop._gate(assignment, candidate, SimpleNamespace(harness_version="1"))


def compare(assignment: Assignment) -> None:
    plan = SimpleNamespace(seeds=(0, 1), hypothesis=None)
    loop._compare(assignment, plan, SimpleNamespace(key=lambda: "key"), TWO)


def propose(assignment: Assignment) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arcfusion.experiments.hypotheses.propose", lambda *_, **__: [])
        measured = SimpleNamespace(protocol=SimpleNamespace(key=lambda: "key"))
        conclusion._file_hypotheses(assignment, measured)


def settle_plan(assignment: Assignment) -> None:
    loop.settle_plan(
        assignment,
        lambda: Plan(question="q", protocol="instant", seeds=(0, 1), entries=(entry("mha"),) * 2),
    )


def entry(name: str) -> Entry:
    return Entry(name=name, spec=ArchSpec.preset(name).to_yaml(), origin="test", reasoning="")


# What a worker does that leaves something, by what it leaves.
WRITES: dict[str, Callable[[Assignment], object]] = {
    "session": lambda a: a.log.begin(actor="tester", role="researcher"),
    "turn": lambda a: a.log.add("plan", "a turn"),
    "summary": lambda a: a.log.compact("a summary"),
    "plan": lambda a: store_plan(a.home, a.claim.issue_id, {"q": 1}, guard=a.guard),
    "plan of the loop": settle_plan,
    "architecture": lambda a: save_architectures(a.home, [], guard=a.guard),
    "gate": gate,
    "planned run": lambda a: experiment._plan(
        a.home, [], Protocol.load("instant"), (0,), conditions(a)
    ),
    "started run": lambda a: experiment._start(
        a.home, [], Protocol.load("instant"), None, conditions(a)
    ),
    "comparison and insight": compare,
    "hypothesis": propose,
    "issue": lambda a: a.queue.create(Draft(title="next"), holding=a.claim),
    "branch and pull request": lambda a: conclusion._publish(a, REVIEW),
    "checkpoint": lambda a: a.queue.checkpoint(a.claim, HANDOFF),
    "heartbeat": lambda a: a.queue.heartbeat(a.claim),
    "comment": lambda a: a.queue.comment(a.claim.issue_id, "x", fence=a.claim.fence),
    "note": lambda a: a.queue.note(a.claim.issue_id, "x", fence=a.claim.fence),
    "release": lambda a: a.queue.release(a.claim, HANDOFF),
    "failure": lambda a: a.queue.fail(a.claim, HANDOFF, error="x"),
    "close": lambda a: a.queue.close(a.claim, Outcome.WONTDO, reason="x"),
}
# Refused in the same way; a live claim can not do them without a measured lab.
REFUSED_ONLY: dict[str, Callable[[Assignment], object]] = {
    "metric and artifact": lambda a: experiment.settle(a.home, "run-x", None, guard=a.guard),
    "dream": lambda a: plan_dreams(a, Study(kind="dream", strategies=("random",))),
}


def end_claim(assignment: Assignment, how: str) -> None:
    later = time.time() + 1000
    with Queue(assignment.home, "thief", clock=lambda: later) as thief:
        assert thief.sweep() == 1
        if how == "taken over":
            thief.claim(assignment.claim.issue_id)


def picture(home: Home) -> dict[str, object]:
    """Every row of the database, every branch and every run's directory."""
    with closing(store.connect(home)) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        rows: dict[str, object] = {
            table: [tuple(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for table in tables
        }
    return rows | {
        "branches": Workspace(home.workspace_path).branches(""),
        "runs": sorted(path.name for path in home.runs_path.iterdir()),
    }


@pytest.mark.parametrize("how", ["swept", "taken over"])
@pytest.mark.parametrize("name", [*WRITES, *REFUSED_ONLY])
def test_a_worker_without_its_claim_leaves_nothing(
    name: str, how: str, assignment: Assignment
) -> None:
    end_claim(assignment, how)
    before = picture(assignment.home)
    with pytest.raises(ClaimLostError, match="nothing was written"):
        (WRITES | REFUSED_ONLY)[name](assignment)
    assert picture(assignment.home) == before


@pytest.mark.parametrize("name", WRITES)
def test_the_same_worker_with_its_claim_is_let_through(name: str, assignment: Assignment) -> None:
    WRITES[name](assignment)


def test_a_claim_can_not_be_stolen_amid_a_write(assignment: Assignment) -> None:
    """The guard is in the transaction of the write: a thief waits for its end."""
    thief = threading.Thread(target=end_claim, args=(assignment, "taken over"))
    with closing(store.connect(assignment.home)) as connection:
        with store.write(connection, guard=assignment.guard):
            thief.start()
            thief.join(0.3)
            assert thief.is_alive()
            connection.execute("INSERT INTO label VALUES (?, 'held')", (assignment.claim.issue_id,))
        thief.join(30)
    assert assignment.queue.fetch(assignment.claim.issue_id).labels == ("agent-safe", "held")
    with pytest.raises(ClaimLostError):
        assignment.log.add("plan", "too late")


def test_a_worker_that_fears_for_its_lease_writes_no_more(assignment: Assignment) -> None:
    home, claim = assignment.home, assignment.claim
    stalled = Guard(home, "tester", claim, QueueConfig(), asked_at=time.monotonic() - 49)
    before = picture(home)
    with pytest.raises(LostGuardError, match="was not renewed"):
        store_plan(home, claim.issue_id, {}, guard=stalled.hold)
    assert picture(home) == before


def test_the_ending_of_a_session_is_its_own_and_written_once(assignment: Assignment) -> None:
    assignment.log.begin(actor="tester", role="researcher")
    end_claim(assignment, "taken over")
    before = picture(assignment.home)
    assignment.log.end("lost: taken over")
    after = picture(assignment.home)
    assert {name for name in before if before[name] != after[name]} == {"session"}
    with pytest.raises(LostGuardError, match="has ended already"):
        assignment.log.end("closed: done")
    assert picture(assignment.home) == after
