import pytest

from arcfusion.core.errors import ExitCode
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft, Needs, Offer
from arcfusion.issues.errors import (
    AlreadyClaimedError,
    FieldError,
    IssueClosedError,
    IssueExistsError,
    IssueNotReadyError,
    IssueTooLargeError,
    IssueUnknownError,
    NeedsNotMetError,
    NothingReadyError,
    TransitionError,
)
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import IssueType, Outcome, Size, Status

HANDOFF = Handoff(tried="one seed", result="no difference", next="more seeds")


def file(queue: Queue, title: str = "An issue", **fields) -> str:
    return queue.create(Draft(title=title, **fields)).id


def test_issues_are_handed_out_by_priority_then_age(queue, fake_clock):
    late = file(queue, "late", priority=2)
    fake_clock.pass_s(1)
    file(queue, "later", priority=2)
    urgent = file(queue, "urgent", priority=0)
    assert [issue.id for issue in queue.ready()][:2] == [urgent, late]
    assert queue.claim().issue_id == urgent
    assert queue.claim().issue_id == late


def test_issues_filed_together_keep_their_order(queue):
    drafts = [Draft(title=f"step {n}") for n in range(30)]
    filed = [issue.id for issue, _ in queue.create_all(drafts)]
    assert [issue.id for issue in queue.ready()] == filed


def test_a_claim_leaves_lease_attempt_and_event(queue):
    issue_id = file(queue)
    claim = queue.claim()
    detail = queue.show(issue_id)
    assert claim.fence == 1
    assert detail.issue.status is Status.IN_PROGRESS
    assert detail.issue.assignee == "alice"
    assert detail.lease is not None
    assert detail.lease.fence == 1
    assert [(a.id, a.outcome) for a in detail.attempts] == [(claim.attempt_id, None)]
    assert [event.type for event in queue.events(issue_id)] == ["created", "claimed"]


def test_a_claimed_issue_can_not_be_claimed_again(queue, rival):
    issue_id = file(queue)
    queue.claim(issue_id)
    with pytest.raises(AlreadyClaimedError, match="alice") as caught:
        rival.claim(issue_id)
    assert caught.value.exit_code == ExitCode.LOST_GUARD
    with pytest.raises(AlreadyClaimedError):
        queue.claim(issue_id)
    with pytest.raises(NothingReadyError) as nothing:
        rival.claim()
    assert nothing.value.exit_code == ExitCode.NOT_FOUND


def test_the_same_session_gets_its_own_claim_again(lab: Home, fake_clock):
    with Queue(lab, "alice", session="s1", clock=fake_clock) as first:
        issue_id = file(first)
        fence = first.claim(issue_id).fence
        assert first.claim(issue_id).fence == fence
    with (
        Queue(lab, "alice", session="s2", clock=fake_clock) as other,
        pytest.raises(AlreadyClaimedError),
    ):
        other.claim(issue_id)


def test_labels_choose_and_exclude(queue):
    plain = file(queue, "plain", priority=0)
    both = file(queue, "both", labels=("safe", "cpu"))
    file(queue, "one", labels=("safe",))
    assert queue.claim(labels=["safe", "cpu"]).issue_id == both
    with pytest.raises(NothingReadyError, match="none fits"):
        queue.claim(labels=["safe", "cpu"])
    assert queue.claim(exclude_labels=["safe"]).issue_id == plain


def test_an_issue_that_needs_a_gpu_is_not_handed_to_a_worker_without_one(queue):
    big = file(queue, "big", priority=0, needs=Needs(gpus=1, skills=("triton",)))
    small = file(queue, "small")
    assert queue.claim().issue_id == small
    with pytest.raises(NeedsNotMetError, match="1 GPUs"):
        queue.claim(big)
    with pytest.raises(NothingReadyError):
        queue.claim(offer=Offer(gpus=1))
    assert queue.claim(offer=Offer(gpus=2, skills=("triton", "cuda"))).issue_id == big


def test_epics_and_xl_issues_are_not_claimed(queue):
    epic = file(queue, "epic", type=IssueType.EPIC)
    huge = file(queue, "huge", size=Size.XL)
    assert not queue.ready()
    for issue_id in (epic, huge):
        with pytest.raises(IssueTooLargeError):
            queue.claim(issue_id)


def test_an_unknown_or_closed_issue_is_bad_input(queue):
    with pytest.raises(IssueUnknownError, match="'nope'") as unknown:
        queue.claim("nope")
    assert unknown.value.exit_code == ExitCode.BAD_INPUT
    issue_id = file(queue)
    queue.close(issue_id, Outcome.WONTDO, reason="not needed")
    with pytest.raises(IssueClosedError, match="wontdo") as closed:
        queue.claim(issue_id)
    assert closed.value.exit_code == ExitCode.BAD_INPUT


def test_a_deferred_or_later_issue_is_not_ready(queue, fake_clock):
    deferred = file(queue, "deferred")
    queue.update(deferred, {"status": "deferred"})
    later = file(queue, "later", not_before=fake_clock.now + 60)
    for issue_id in (deferred, later):
        with pytest.raises(IssueNotReadyError):
            queue.claim(issue_id)
    fake_clock.pass_s(61)
    assert [issue.id for issue in queue.ready()] == [later]


def test_the_same_idempotency_key_files_one_issue(queue, rival):
    first = queue.create(Draft(title="once", idempotency_key="k"))
    assert rival.create(Draft(title="other words", idempotency_key="k")) == first
    assert len(queue.list()) == 1


def test_a_taken_id_is_refused_and_nothing_is_filed(queue):
    file(queue, id="lab-1")
    with pytest.raises(IssueExistsError):
        queue.create_all([Draft(title="new"), Draft(title="taken", id="lab-1")])
    assert len(queue.list()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"title": " "},
        {"title": "two\nlines"},
        {"title": "x" * 501},
        {"title": "x", "priority": 5},
        {"title": "x", "labels": ("two words",)},
        {"title": "x", "id": "../x"},
        {"title": "x", "estimated_minutes": -1},
        {"title": "x", "metadata": {"x": float("nan")}},
        {"title": "x", "not_before": float("inf")},
        {"title": "x", "max_attempts": 0},
    ],
)
def test_a_field_out_of_range_is_refused(fields):
    with pytest.raises(FieldError):
        Draft(**fields)


def test_an_update_keeps_what_it_does_not_name(queue):
    issue_id = file(queue, labels=("kept",), description="kept", metadata={"a": 1})
    queue.comment(issue_id, "kept")
    changed = queue.update(issue_id, {"title": "New", "metadata": {"b": 2}})
    assert changed.labels == ("kept",)
    assert changed.description == "kept"
    assert changed.metadata == {"a": 1, "b": 2}
    assert len(queue.show(issue_id).comments) == 1
    event = queue.events(issue_id)[-1]
    assert event.before["title"] == "An issue"
    assert event.after["title"] == "New"


def test_a_status_that_a_verb_sets_can_not_be_set_by_hand(queue):
    issue_id = file(queue)
    for status in ("in_progress", "closed", "quarantined"):
        with pytest.raises(TransitionError):
            queue.update(issue_id, {"status": status})
    queue.claim(issue_id)
    with pytest.raises(TransitionError, match="release"):
        queue.update(issue_id, {"status": "open"})
    with pytest.raises(FieldError, match="can not be set"):
        queue.update(issue_id, {"fence": 9})


def test_reopening_clears_the_outcome(queue):
    issue_id = file(queue)
    queue.close(issue_id, Outcome.WONTDO, reason="no")
    reopened = queue.reopen(issue_id, "it is needed after all")
    assert (reopened.status, reopened.outcome, reopened.closed_at) == (Status.OPEN, None, None)
    with pytest.raises(TransitionError):
        queue.reopen(issue_id, "again")


def test_events_are_numbered_without_gaps_past_failed_writes(queue):
    issue_id = file(queue)
    with pytest.raises(IssueUnknownError):
        queue.add_label("nope", "x")
    with pytest.raises(IssueExistsError):
        queue.create_all([Draft(title="a"), Draft(title="b", id=issue_id)])
    queue.add_label(issue_id, "x")
    queue.remove_label(issue_id, "x")
    assert [event.seq for event in queue.events()] == [1, 2, 3]
    assert len(queue.events(after_seq=2)) == 1


def test_memories_are_found_by_their_words_and_replaced_by_key(queue):
    queue.remember("the scan underflows at large dt", key="scan")
    queue.remember("warm-up of 100 steps is enough")
    assert [memory.key for memory in queue.recall("scan dt")] == ["scan"]
    queue.remember("the scan is stable now", key="scan")
    assert queue.recall("scan")[0].text == "the scan is stable now"
    assert len(queue.recall()) == 2


def test_the_database_clock_is_the_clock(lab: Home):
    import time

    with Queue(lab, "alice") as real:
        assert abs(real.now() - time.time()) < 5
        issue_id = file(real)
        claim = real.claim(issue_id)
        assert 55 < claim.lease_expires_at.timestamp() - time.time() < 65
