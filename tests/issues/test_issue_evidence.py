import hashlib

import pytest

from arcfusion.core.errors import ExitCode
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import EvidenceMissingError, EvidenceRefusedError, FieldError
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import Outcome, Status


def knows_one(item: Evidence) -> str | None:
    return None if item.value == "run-1" else "there is no such run"


@pytest.fixture
def checked(lab, fake_clock):
    checks = {EvidenceKind.RUN: knows_one}
    with Queue(lab, "alice", clock=fake_clock, checks=checks) as opened:
        yield opened


@pytest.fixture
def issue_id(checked):
    return checked.create(Draft(title="An issue")).id


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.NEGATIVE])
def test_a_finding_without_evidence_is_refused(checked, issue_id, outcome):
    with pytest.raises(EvidenceMissingError) as caught:
        checked.close(issue_id, outcome, reason="trust me")
    assert caught.value.exit_code == ExitCode.REFUSED
    assert checked.fetch(issue_id).status is Status.OPEN


@pytest.mark.parametrize(
    "outcome", [Outcome.INCONCLUSIVE, Outcome.FAILED, Outcome.DUPLICATE, Outcome.WONTDO]
)
def test_the_other_outcomes_need_a_reason(checked, issue_id, outcome):
    with pytest.raises(FieldError, match="with a reason"):
        checked.close(issue_id, outcome)
    checked.close(issue_id, outcome, reason="because")
    assert checked.fetch(issue_id).outcome is outcome


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run:run-2", "no such run"),
        ("commit:abc", "can not be checked here"),
        ("metric:run-1/loss=2.5", "can not be checked here"),
        ("file:missing.txt", "does not exist"),
        ("file:kept.txt@" + "0" * 64, "has sha256"),
        ("file:.", "does not exist"),
    ],
)
def test_evidence_that_does_not_hold_is_refused(checked, issue_id, text, problem):
    (checked.home.workspace_path / "kept.txt").write_text("kept")
    with pytest.raises(EvidenceRefusedError, match=problem):
        checked.close(issue_id, Outcome.DONE, evidence=[Evidence.parse(text)])
    assert checked.fetch(issue_id).status is Status.OPEN


def test_one_bad_item_among_good_ones_refuses_the_close(checked, issue_id):
    items = [Evidence.parse("run:run-1"), Evidence.parse("run:run-2")]
    with pytest.raises(EvidenceRefusedError):
        checked.close(issue_id, Outcome.DONE, evidence=items)


def test_what_was_checked_is_kept_with_its_hash(checked, issue_id):
    (checked.home.workspace_path / "kept.txt").write_text("kept")
    items = [Evidence.parse(t) for t in ("run:run-1", "file:kept.txt", "command:0:make test: ok")]
    checked.close(issue_id, Outcome.NEGATIVE, evidence=items)
    closed = checked.fetch(issue_id)
    assert closed.evidence[1].sha256 == hashlib.sha256(b"kept").hexdigest()
    assert (closed.evidence[2].value, closed.evidence[2].exit_status) == ("make test: ok", 0)


@pytest.mark.parametrize(
    "text",
    [
        "run:",
        "run-1",
        "paper:1",
        "metric:run-1/loss=nan",
        "metric:run-1/loss=x",
        "metric:loss=1",
        "command:make test",
    ],
)
def test_evidence_that_says_nothing_is_bad_input(text):
    with pytest.raises(FieldError):
        Evidence.parse(text)
