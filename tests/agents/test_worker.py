"""This fails when an issue's end is not on record: closed, given back with a handoff, or parked."""

import importlib
import json
from pathlib import Path

import pytest

from arcfusion.agents import worker as module
from arcfusion.agents.assignment import Finding
from arcfusion.agents.worker import WorkerSettings, run_worker
from arcfusion.core.errors import ArcFusionError, LostGuardError, NotFoundError
from arcfusion.core.home import Home
from arcfusion.core.sandbox.strength import Tier
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Needs, Offer
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import Outcome, Status


class Role:
    """A role whose work is what the test says."""

    def __init__(self, work) -> None:
        self.work = work


def settings(**changes) -> WorkerSettings:
    values = {
        "actor": "tester",
        "labels": ("agent-safe",),
        "max_issues": 1,
        "seed": 0,
        "parallel": 1,
        "tier": Tier.GOOD,
        "queue": QueueConfig(),
        "pool": "here",
        "offer": Offer(gpus=0),
    }
    return WorkerSettings(**(values | changes))


def use_role(monkeypatch: pytest.MonkeyPatch, work) -> None:
    real = importlib.import_module
    roles = set(module.ROLES.values())
    monkeypatch.setattr(
        module.importlib, "import_module", lambda name: Role(work) if name in roles else real(name)
    )


def file_issue(home: Home, **fields) -> str:
    with Queue(home, "person") as queue:
        return queue.create(Draft(title="a question", labels=("agent-safe",), **fields)).id


def fetch(home: Home, issue_id: str):
    with Queue(home, "person") as queue:
        return queue.show(issue_id)


def finding(outcome: Outcome) -> Finding:
    return Finding(outcome=outcome, reason="because", evidence=())


def test_an_issue_is_closed_with_the_outcome_that_the_role_found(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = file_issue(home)
    use_role(monkeypatch, lambda _: finding(Outcome.INCONCLUSIVE))
    report = run_worker(home, settings(), say=lambda _: None)
    detail = fetch(home, issue_id)
    assert report.closed == {issue_id: "inconclusive"}
    assert (detail.issue.status, detail.issue.outcome) == (Status.CLOSED, Outcome.INCONCLUSIVE)
    assert detail.lease is None


def test_an_outcome_without_evidence_does_not_close_the_issue(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = file_issue(home)
    use_role(monkeypatch, lambda _: finding(Outcome.DONE))
    run_worker(home, settings(), say=lambda _: None)
    assert fetch(home, issue_id).issue.status is Status.BLOCKED


def test_a_study_that_nobody_can_run_waits_for_a_person(home: Home) -> None:
    issue_id = file_issue(home, metadata={"study": {"protocol": "/etc/passwd"}})
    report = run_worker(home, settings(), say=lambda _: None)
    detail = fetch(home, issue_id)
    assert detail.issue.status is Status.BLOCKED
    assert "protocol" in detail.attempts[-1].handoff.result
    assert report.closed == {}


def test_a_fault_of_ours_gives_the_issue_back_with_the_error(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(_assignment) -> Finding:
        raise ArcFusionError("the disk is on fire")

    issue_id = file_issue(home)
    use_role(monkeypatch, work)
    with pytest.raises(ArcFusionError, match="on fire"):
        run_worker(home, settings(), say=lambda _: None)
    detail = fetch(home, issue_id)
    assert detail.issue.status is Status.OPEN
    assert detail.issue.failures == 1
    assert "on fire" in detail.attempts[-1].error


def test_an_interrupted_worker_releases_its_claim_with_a_handoff(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(_assignment) -> Finding:
        raise KeyboardInterrupt

    issue_id = file_issue(home)
    use_role(monkeypatch, work)
    with pytest.raises(KeyboardInterrupt):
        run_worker(home, settings(), say=lambda _: None)
    detail = fetch(home, issue_id)
    assert detail.issue.status is Status.OPEN
    assert detail.attempts[-1].handoff.result == "interrupted by a person"
    assert detail.issue.failures == 0


def test_a_worker_that_lost_its_claim_writes_nothing_more(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(assignment) -> Finding:
        with Queue(home, "tester") as queue:
            queue.release(assignment.claim.token, module._handoff(assignment, "taken away"))
        with Queue(home, "person") as queue:
            queue.claim(assignment.claim.issue_id)
        raise LostGuardError("somebody else holds it")

    issue_id = file_issue(home)
    use_role(monkeypatch, work)
    report = run_worker(home, settings(), say=lambda _: None)
    detail = fetch(home, issue_id)
    assert detail.issue.assignee == "person"
    assert detail.issue.status is Status.IN_PROGRESS
    assert list(report.released) == [issue_id]


def claims_of(home: Home, issue_id: str) -> list[dict]:
    with Queue(home, "person") as queue:
        return [event.after for event in queue.events(issue_id) if event.type == "claimed"]


def test_a_worker_claims_with_its_pool_in_one_session_and_what_fits_its_offer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [file_issue(home), file_issue(home)]
    large = file_issue(home, needs=Needs(gpus=1), priority=0)
    use_role(monkeypatch, lambda _: finding(Outcome.INCONCLUSIVE))
    run_worker(home, settings(max_issues=None), say=lambda _: None)
    claims = [claim for issue_id in ids for claim in claims_of(home, issue_id)]
    assert [claim["pool"] for claim in claims] == ["here", "here"]
    assert len({claim["attempt"]["session"] for claim in claims}) == 1
    assert claims[0]["attempt"]["session"]
    assert claims_of(home, large) == []


def test_a_worker_goes_on_after_a_claim_whose_lease_has_not_run_out_yet(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = file_issue(home), file_issue(home)

    def work(assignment) -> Finding:
        if assignment.claim.issue_id == first:
            raise LostGuardError("not renewed in time")
        return finding(Outcome.INCONCLUSIVE)

    use_role(monkeypatch, work)
    report = run_worker(home, settings(max_issues=2), say=lambda _: None)
    assert (list(report.released), list(report.closed)) == ([first], [second])
    sessions = [claims_of(home, one)[0]["attempt"]["session"] for one in (first, second)]
    assert len(set(sessions)) == 2


def test_only_issues_with_the_label_are_claimed(home: Home) -> None:
    with Queue(home, "person") as queue:
        queue.create(Draft(title="not for agents"))
    with pytest.raises(NotFoundError):
        run_worker(home, settings(), say=lambda _: None)


def test_a_worker_goes_on_until_nothing_is_ready(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        file_issue(home)
    use_role(monkeypatch, lambda _: finding(Outcome.INCONCLUSIVE))
    report = run_worker(home, settings(max_issues=None), say=lambda _: None)
    assert len(report.closed) == 3


def test_the_handoff_names_what_was_planned(home: Home, tmp_path: Path) -> None:
    from arcfusion.agents.session import store_plan

    def work(assignment) -> Finding:
        entries = [{"name": "mha"}, {"name": "mamba"}]
        store_plan(home, assignment.claim.issue_id, {"entries": entries}, guard=assignment.guard)
        raise KeyboardInterrupt

    issue_id = file_issue(home)
    with pytest.MonkeyPatch.context() as patch:
        use_role(patch, work)
        with pytest.raises(KeyboardInterrupt):
            run_worker(home, settings(), say=lambda _: None)
    handoff = fetch(home, issue_id).attempts[-1].handoff
    assert handoff.tried == "planned mha, mamba; no runs yet"
    assert json.loads(handoff.to_json())["next"].startswith("claim the issue again")


def test_the_handoff_is_written_when_the_issue_has_ended(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_issue(home)
    use_role(monkeypatch, lambda _: finding(Outcome.INCONCLUSIVE))
    run_worker(home, settings(), say=lambda _: None)
    text = (home.workspace_path / "HANDOFF.md").read_text()
    assert "| issues | 1 closed |" in text
    assert "## Running\n\nNothing." in text


def test_a_strangers_handoff_is_left_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.workspace_path / "HANDOFF.md").write_text("mine")
    file_issue(home)
    use_role(monkeypatch, lambda _: finding(Outcome.INCONCLUSIVE))
    run_worker(home, settings(), say=lambda _: None)
    assert (home.workspace_path / "HANDOFF.md").read_text() == "mine"
    assert "1 closed" in (home.path / "HANDOFF.md").read_text()
