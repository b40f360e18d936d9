"""This fails when a training could be launched by a session that no longer knows what it does."""

import pytest

from arcfusion.agents.context import ContextLostError, Facts, check_context, restate
from arcfusion.agents.session import SessionLog, estimate_tokens, load_plan, store_plan
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.core.ids import digest
from arcfusion.core.store import unguarded
from arcfusion.issues.record import Claim

PLAN = {"question": "q", "seeds": [0, 1]}


@pytest.fixture
def log(home: Home, claim: Claim) -> SessionLog:
    store_plan(home, claim.issue_id, PLAN, guard=unguarded)
    log = SessionLog(home, issue_id=claim.issue_id, fence=claim.fence, guard=unguarded)
    log.begin(actor="tester", role="researcher")
    return log


def facts(claim: Claim) -> Facts:
    return Facts(issue_id=claim.issue_id, fence=claim.fence, plan_digest=digest(PLAN))


def test_a_short_session_goes_on_as_it_is(log: SessionLog, claim: Claim) -> None:
    log.add("plan", "x" * 400)
    check = check_context(log, facts(claim), window_tokens=1000)
    assert (check.action, check.tokens_before, check.tokens_after) == ("proceed", 100, 100)


def test_a_long_session_is_compacted_before_the_launch_and_keeps_the_facts(
    log: SessionLog, claim: Claim
) -> None:
    for number in range(40):
        log.add("step", f"{number} " + "words " * 50)
    check = check_context(log, facts(claim), window_tokens=2000)
    assert check.action == "compacted"
    assert check.tokens_after < 1000 < check.tokens_before
    assert [turn.kind for turn in log.turns()] == ["summary"]
    assert restate(log) == facts(claim)
    assert "39 words" in log.turns()[0].content


def test_compacted_turns_stay_in_the_database(log: SessionLog, claim: Claim) -> None:
    for _ in range(10):
        log.add("step", "words " * 100)
    check_context(log, facts(claim), window_tokens=1000)
    connection = store.connect(log.home)
    assert connection.execute("SELECT count(*) FROM turn").fetchone()[0] == 11
    connection.close()


@pytest.mark.parametrize("field", ["issue_id", "fence", "plan_digest"])
def test_a_session_that_is_wrong_about_a_fact_launches_nothing(
    log: SessionLog, claim: Claim, field: str
) -> None:
    held = facts(claim)
    wrong = {
        "issue_id": Facts(issue_id="arcfusion-xxx", fence=held.fence, plan_digest=held.plan_digest),
        "fence": Facts(issue_id=held.issue_id, fence=held.fence + 1, plan_digest=held.plan_digest),
        "plan_digest": Facts(issue_id=held.issue_id, fence=held.fence, plan_digest="0" * 64),
    }[field]
    with pytest.raises(ContextLostError):
        check_context(log, wrong)


def test_a_damaged_summary_is_noticed(log: SessionLog, claim: Claim) -> None:
    log.compact("no facts here")
    with pytest.raises(ContextLostError):
        restate(log)


def test_a_window_too_small_for_the_summary_hands_over(log: SessionLog, claim: Claim) -> None:
    log.add("step", "words " * 100)
    with pytest.raises(ContextLostError, match="tokens"):
        check_context(log, facts(claim), window_tokens=20)


def test_the_first_plan_of_an_issue_holds(home: Home, claim: Claim) -> None:
    assert load_plan(home, claim.issue_id) is None
    assert store_plan(home, claim.issue_id, PLAN, guard=unguarded) == PLAN
    assert store_plan(home, claim.issue_id, {"question": "another"}, guard=unguarded) == PLAN


def test_an_empty_text_still_costs_a_token() -> None:
    assert (estimate_tokens(""), estimate_tokens("abcdefgh")) == (1, 2)
