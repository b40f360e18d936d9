"""This fails when a handoff is too long to be read, or a cut loses what the next worker needs."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import HandoffMissingError
from arcfusion.issues.excerpt import cut, json_size
from arcfusion.issues.handoff import MAX_BYTES, Handoff
from arcfusion.issues.states import AttemptOutcome

TEXT = st.one_of(
    st.text(max_size=80),
    st.builds(
        lambda part, times: part * times, st.text(min_size=1, max_size=9), st.integers(1, 900)
    ),
)
SAID = TEXT.filter(lambda text: text.strip())
HANDOFFS = st.builds(
    Handoff,
    tried=SAID,
    result=SAID,
    next=SAID,
    files=st.lists(TEXT, max_size=60).map(tuple),
    state_ref=TEXT,
    question=TEXT,
    answer=TEXT,
)


@given(handoff=HANDOFFS)
@settings(deadline=None, max_examples=300)
def test_any_handoff_fits_and_keeps_each_field(handoff):
    fitted = handoff.fit()
    text = fitted.to_json()
    assert len(text.encode()) <= MAX_BYTES
    assert fitted.fit() == fitted
    assert Handoff.from_json(text) == fitted
    if len(handoff.to_json()) <= MAX_BYTES:
        assert fitted == handoff
    for name in ("tried", "result", "next", "question", "answer", "state_ref"):
        whole, kept = getattr(handoff, name), getattr(fitted, name)
        assert bool(whole) == bool(kept)
        if kept != whole:
            begin, mark, _ = kept.rpartition(" ... (cut; ")
            assert whole.startswith(begin if mark else kept.removesuffix("..."))
    names = [name for name in fitted.files if name not in handoff.files]
    assert len(names) <= 1


@given(text=TEXT, size=st.integers(3, 500))
@settings(deadline=None, max_examples=300)
def test_a_cut_text_is_a_beginning_within_its_budget(text, size):
    short = cut(text, size)
    assert json_size(short) <= size
    assert short == text or (short.endswith("...") and text.startswith(short[:-3]))
    assert json_size(text) == len(json.dumps(text)) - 2


def test_a_cut_handoff_points_to_where_the_rest_is():
    long = {"tried": "t" * 5000, "result": "\u4e2d" * 3000, "next": "n", "files": ("f" * 99,) * 50}
    kept = Handoff(**long, state_ref="runs/7").fit()
    assert kept.tried.endswith("(cut; see state_ref)")
    assert kept.result.endswith("(cut; see state_ref)")
    assert kept.next == "n"
    assert kept.files[-1] == f"({50 - len(kept.files) + 1} more; see state_ref)"
    assert set(kept.files[:-1]) == {"f" * 99}
    assert "it has no state_ref" in Handoff(**long).fit().tried
    # The fields share what there is: nothing is left unused.
    assert len(kept.to_json()) > MAX_BYTES - 100


@given(
    checkpoints=st.lists(SAID, min_size=1, max_size=4),
    ending=st.sampled_from(["dies", "fails", "releases"]),
    error=TEXT,
)
@settings(deadline=None, max_examples=30)
def test_a_checkpoint_survives_its_holder(
    template_lab, tmp_path_factory, checkpoints, ending, error
):
    import shutil

    from arcfusion.core.home import Home
    from arcfusion.issues.queue import Queue

    workspace = tmp_path_factory.mktemp("lab") / "lab"
    shutil.copytree(template_lab, workspace)
    now = [1e9]
    with Queue(Home(workspace / ".arcfusion"), "alice", clock=lambda: now[0]) as queue:
        queue._connection.execute("PRAGMA synchronous=OFF")
        queue.create(Draft(title="x"))
        claim = queue.claim()
        assert (claim.last_handoff, claim.history.attempts) == (None, 1)
        for text in checkpoints:
            last = Handoff(tried=text, result="r", next="n")
            queue.checkpoint(claim, last)
        match ending:
            case "fails":
                queue.fail(claim, last, error=error)
            case "releases":
                last = Handoff(tried="newer", result="r", next="n")
                queue.release(claim, last)
        now[0] += 3600
        again = queue.claim()
        assert again.last_handoff == last.fit()
        assert again.history.attempts == 2
        ended = {"dies": "lost", "fails": "failed", "releases": "released"}[ending]
        assert again.history.outcomes == {AttemptOutcome(ended): 1}
        expected = error if ending == "fails" and error else None
        assert (again.history.last_error or "")[:9].rstrip(".") in (expected or "")
        assert len(json.dumps(again.to_json()["last_handoff"])) <= MAX_BYTES
        assert len(json.dumps(again.to_json()["history"])) <= 500


def test_a_claim_tells_how_the_attempts_before_ended(queue, rival, fake_clock):
    queue.create(Draft(title="x", max_attempts=9))
    handoff = Handoff(tried="t", result="r", next="n")
    queue.fail(queue.claim(), handoff, error="out of memory")
    fake_clock.pass_s(31)
    rival.claim()
    fake_clock.pass_s(61)
    queue.release(queue.claim(), handoff)
    told = rival.claim().to_json()["history"]
    assert told == {
        "attempts": 4,
        "outcomes": {"failed": 1, "lost": 1, "released": 1},
        "last_error": "out of memory",
    }


def test_a_release_without_a_handoff_is_refused():
    for empty in ("tried", "result", "next"):
        with pytest.raises(HandoffMissingError, match=f"no {empty}"):
            Handoff(**({"tried": "t", "result": "r", "next": "n"} | {empty: " "}))
