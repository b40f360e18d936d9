import pytest

from arcfusion.core.errors import ExitCode
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import (
    ClaimLostError,
    FenceMissingError,
    HandoffMissingError,
    IssueNotReadyError,
    LeaseConfigError,
    NothingReadyError,
)
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.record import Token
from arcfusion.issues.states import AttemptOutcome, Outcome, Status

HANDOFF = Handoff(tried="one seed", result="no difference", next="more seeds")
RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)


@pytest.fixture
def issue_id(queue):
    return queue.create(Draft(title="An issue")).id


def test_a_claim_is_given_back_when_its_lease_runs_out(queue, rival, fake_clock, issue_id):
    queue.claim()
    fake_clock.pass_s(59.9)
    with pytest.raises(NothingReadyError):
        rival.claim()
    fake_clock.pass_s(0.2)
    claim = rival.claim()
    assert (claim.issue_id, claim.fence) == (issue_id, 2)
    first, second = rival.show(issue_id).attempts
    assert (first.outcome, second.outcome) == (AttemptOutcome.LOST, None)
    assert rival.fetch(issue_id).losses == 1


def test_a_claim_by_id_sweeps_too(queue, rival, fake_clock, issue_id):
    queue.claim()
    fake_clock.pass_s(61)
    assert rival.claim(issue_id).fence == 2


def test_heartbeats_keep_a_claim_and_write_no_event(queue, rival, fake_clock, issue_id):
    claim = queue.claim()
    events = len(queue.events())
    for _ in range(20):
        fake_clock.pass_s(10)
        queue.heartbeat(claim)
    with pytest.raises(NothingReadyError):
        rival.claim()
    assert len(queue.events()) == events


def test_every_write_of_a_holder_is_refused_after_its_claim_was_lost(
    queue, rival, fake_clock, issue_id
):
    stale = queue.claim()
    fake_clock.pass_s(61)
    fresh = rival.claim()
    before = rival.show(issue_id), rival.events()
    writes = [
        lambda: queue.heartbeat(stale),
        lambda: queue.checkpoint(stale, HANDOFF),
        lambda: queue.release(stale, HANDOFF),
        lambda: queue.fail(stale, HANDOFF, error="x"),
        lambda: queue.close(stale, Outcome.DONE, evidence=[RAN]),
        lambda: queue.note(issue_id, "x", fence=stale.fence),
        lambda: queue.comment(issue_id, "x", fence=stale.fence),
    ]
    for write in writes:
        with pytest.raises(ClaimLostError) as caught:
            write()
        assert caught.value.exit_code == ExitCode.LOST_GUARD
    assert (rival.show(issue_id), rival.events()) == before
    rival.close(fresh, Outcome.DONE, evidence=[RAN])


def test_another_actor_can_not_write_with_the_right_fence(queue, rival, issue_id):
    claim = queue.claim()
    with pytest.raises(ClaimLostError):
        rival.close(claim.token, Outcome.DONE, evidence=[RAN])
    with pytest.raises(ClaimLostError):
        queue.heartbeat(Token(issue_id=issue_id, fence=claim.fence + 1))


def test_a_claimed_issue_is_closed_and_noted_with_its_fence_only(queue, issue_id):
    claim = queue.claim()
    with pytest.raises(FenceMissingError):
        queue.close(issue_id, Outcome.DONE, evidence=[RAN])
    with pytest.raises(FenceMissingError):
        queue.note(issue_id, "x")
    queue.comment(issue_id, "a person may say something at any time")
    queue.note(issue_id, "seen", fence=claim.fence)
    queue.close(claim, Outcome.DONE, evidence=[RAN])
    closed = queue.fetch(issue_id)
    assert closed.notes == "seen"
    assert closed.assignee is None
    assert queue.show(issue_id).lease is None


def test_closing_again_with_the_same_claim_changes_nothing(queue, issue_id):
    claim = queue.claim()
    queue.close(claim, Outcome.DONE, evidence=[RAN])
    events = len(queue.events())
    queue.close(claim, Outcome.DONE, evidence=[RAN])
    assert queue.fetch(issue_id).status is Status.CLOSED
    assert len(queue.events()) == events
    with pytest.raises(ClaimLostError, match="as done"):
        queue.close(claim, Outcome.NEGATIVE, evidence=[RAN])


def test_the_next_claim_carries_the_last_handoff(queue, rival, fake_clock, issue_id):
    claim = queue.claim()
    assert claim.last_handoff is None
    queue.checkpoint(claim, HANDOFF)
    fake_clock.pass_s(61)
    second = rival.claim()
    assert second.last_handoff == HANDOFF
    newer = Handoff(tried="two seeds", result="a little", next="four", files=("a.py",))
    rival.release(second, newer)
    assert queue.claim().last_handoff == newer
    assert queue.show(issue_id).attempts[1].outcome is AttemptOutcome.RELEASED


def test_a_release_needs_a_handoff_that_says_something(queue, issue_id):
    with pytest.raises(HandoffMissingError, match="no result and no next"):
        Handoff(tried="x", result=" ", next="")


def test_releases_do_not_count_and_failures_pause_then_quarantine(queue, fake_clock, issue_id):
    for _ in range(5):
        queue.release(queue.claim(), HANDOFF)
    pauses = []
    for _ in range(2):
        queue.fail(queue.claim(), HANDOFF, error="out of memory")
        with pytest.raises(IssueNotReadyError):
            queue.claim(issue_id)
        not_before = queue.fetch(issue_id).not_before
        assert not_before is not None
        pauses.append(not_before.timestamp() - fake_clock.now)
        fake_clock.pass_s(pauses[-1] + 1)
    assert pauses == [30, 60]
    ended = queue.fail(queue.claim(), HANDOFF, error="out of memory")
    assert (ended.status, ended.failures, ended.attempts) == (Status.QUARANTINED, 3, 8)
    assert len(queue.show(issue_id).attempts) == 8
    assert "quarantined" in queue.explain(issue_id)[0]
    requeued = queue.requeue(issue_id, "more memory")
    assert (requeued.status, requeued.failures, requeued.attempts) == (Status.OPEN, 0, 8)
    assert queue.claim().fence == 9


def test_an_issue_that_kills_its_workers_is_quarantined(queue, fake_clock, issue_id):
    for fence in (1, 2, 3):
        assert queue.claim().fence == fence
        fake_clock.pass_s(61)
    assert queue.sweep() == 1
    assert queue.fetch(issue_id).status is Status.QUARANTINED
    with pytest.raises(NothingReadyError):
        queue.claim()


def test_a_lease_must_outlast_three_heartbeats():
    assert QueueConfig(lease_s=3, heartbeat_s=1).lease_s == 3
    for figures in (
        {"lease_s": 2.9, "heartbeat_s": 1},
        {"heartbeat_s": 0},
        {"lease_s": float("inf")},
        {"max_attempts": 0},
    ):
        with pytest.raises(LeaseConfigError):
            QueueConfig(**figures)


def test_no_refusal_says_how_to_take_an_issue_away(queue, rival, issue_id):
    queue.claim()
    texts = []
    for refused in (
        lambda: rival.claim(issue_id),
        lambda: rival.heartbeat(Token(issue_id=issue_id, fence=1)),
        lambda: rival.close(issue_id, Outcome.WONTDO, reason="x"),
        lambda: rival.note(issue_id, "x"),
    ):
        with pytest.raises(Exception, match=issue_id) as caught:
            refused()
        texts.append(str(caught.value))
    for text in texts:
        for word in ("sweep", "reclaim", "force", "requeue", "reopen", "--actor"):
            assert word not in text
