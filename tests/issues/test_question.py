"""This fails when a question is lost, nobody sees it, or an issue goes on without its answer."""

import pytest

from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import (
    ClaimLostError,
    FieldError,
    ImportFileError,
    NothingReadyError,
    QuestionMissingError,
    TransitionError,
)
from arcfusion.issues.export import export_lines
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.lines import read_lines
from arcfusion.issues.replay import verify
from arcfusion.issues.states import AttemptOutcome, Outcome, Status

HANDOFF = Handoff(tried="read the issue", result="two widths are possible", next="train it")
ASKED = "Is it 64 or 128 wide?"


@pytest.fixture
def asked_id(queue):
    issue_id = queue.create(Draft(title="A width", labels=("x",))).id
    queue.release(queue.claim(), HANDOFF, question=ASKED)
    return issue_id


def test_an_asked_issue_is_blocked_and_says_who_asks_what(queue, asked_id):
    issue = queue.fetch(asked_id)
    assert (issue.status, issue.question, issue.assignee) == (Status.BLOCKED, ASKED, None)
    assert issue.labels == ("needs-human", "x")
    assert issue.failures == issue.losses == 0
    sentence = f"{asked_id} waits for a person: alice asks: {ASKED}"
    assert queue.explain(asked_id) == [sentence]
    assert queue.blocked()[0][1] == [sentence]
    assert [str(question) for question in queue.open_questions()] == [sentence]
    (attempt,) = queue.show(asked_id).attempts
    assert attempt.outcome is AttemptOutcome.RELEASED
    with pytest.raises(NothingReadyError):
        queue.claim()


def test_the_next_claim_brings_the_question_and_its_answer(queue, rival, asked_id):
    issue = rival.answer(asked_id, "128")
    assert (issue.status, issue.question, issue.labels) == (Status.OPEN, None, ("x",))
    assert queue.open_questions() == []
    claim = queue.claim()
    handed = claim.to_json()["last_handoff"]
    assert (handed["question"], handed["answer"]) == (ASKED, "128")
    assert handed["next"] == "train it"
    (said,) = queue.show(asked_id).comments
    assert (said.author, said.text) == ("bob", f"Asked: {ASKED}\nAnswer: 128")
    assert verify(queue).differences == ()


def test_an_issue_is_not_blocked_without_a_question(queue):
    queue.create(Draft(title="x"))
    claim = queue.claim()
    for empty in ("", " \n"):
        with pytest.raises(QuestionMissingError):
            queue.release(claim, HANDOFF, question=empty)
    with pytest.raises(FieldError, match="2000"):
        queue.release(claim, HANDOFF, question="?" * 2001)
    assert queue.fetch(claim.issue_id).status is Status.IN_PROGRESS


def test_only_the_holder_asks(queue, rival, fake_clock):
    queue.create(Draft(title="x"))
    stale = queue.claim()
    fake_clock.pass_s(61)
    fresh = rival.claim()
    events = len(queue.events())
    for asker, claim in ((queue, stale), (queue, fresh)):
        with pytest.raises(ClaimLostError):
            asker.release(claim, HANDOFF, question=ASKED)
    assert len(queue.events()) == events


def test_nothing_but_an_answer_or_an_end_takes_a_question_away(queue, asked_id):
    with pytest.raises(TransitionError, match="issue answer"):
        queue.update(asked_id, {"status": "open"})
    with pytest.raises(FieldError, match="issue answer"):
        queue.remove_label(asked_id, "needs-human")
    with pytest.raises(FieldError):
        queue.answer(asked_id, " ")
    assert queue.fetch(asked_id).question == ASKED
    queue.close(asked_id, Outcome.WONTDO, reason="no width")
    closed = queue.fetch(asked_id)
    assert (closed.status, closed.question, closed.labels) == (Status.CLOSED, None, ("x",))
    with pytest.raises(TransitionError, match="asks nothing"):
        queue.answer(asked_id, "late")
    assert verify(queue).differences == ()


def test_an_export_keeps_a_question_and_an_answer(queue, asked_id):
    lines = list(export_lines(queue))
    (document,) = read_lines(lines, name="x")
    assert document.issue["question"] == ASKED
    broken = lines[0].replace('"needs-human",', "")
    with pytest.raises(ImportFileError, match="needs-human"):
        list(read_lines([broken], name="x"))
    queue.answer(asked_id, "128")
    (document,) = read_lines(export_lines(queue), name="x")
    assert '"answer": "128"' in document.attempts[0]["handoff"]
