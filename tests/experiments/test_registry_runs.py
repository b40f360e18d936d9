import math

import pytest

from arcfusion.core.errors import BadInputError
from arcfusion.experiments import registry
from arcfusion.experiments.gates.record import GateResult, Outcome
from arcfusion.experiments.tables import GateRecord, Metric


def _plan(lab, session, name="mha", seed=0, **fields):
    return registry.plan_run(
        session, lab.model(name), protocol=lab.protocol, seed=seed, now=lab.now(), **fields
    )


def test_the_same_net_under_another_name_is_not_planned_twice(lab):
    with lab.session() as session:
        first = _plan(lab, session)
        renamed = registry.plan_run(
            session,
            lab.model("renamed", fingerprint="fp-mha"),
            protocol=lab.protocol,
            seed=0,
            now=lab.now(),
        )
    assert (first.created, renamed.created) == (True, False)
    assert renamed.run.id == first.run.id
    assert renamed.run.name == "mha"


def test_a_seed_or_a_deliberate_replica_is_another_run(lab):
    with lab.session() as session:
        ids = {
            _plan(lab, session, seed=seed, replica=replica).run.id
            for seed in (0, 1)
            for replica in (0, 1)
        }
    assert len(ids) == 4


def test_a_negative_seed_is_refused(lab):
    with pytest.raises(BadInputError, match="-1"), lab.session() as session:
        _plan(lab, session, seed=-1)


def test_a_run_is_settled_exactly_once(lab, result_of):
    with lab.session() as session:
        run_id = _plan(lab, session).run.id
        assert registry.settle_run(session, run_id, result_of(run_id, bits_per_byte=2.5), now=2.0)
    with lab.session() as session:
        late = result_of(run_id, bits_per_byte=1.0)
        assert not registry.settle_run(session, run_id, late, now=3.0)
    with lab.session() as session:
        run = registry.get_run(session, run_id)
        assert (run.state, run.outcome, run.ended_at) == ("done", "completed", 2.0)
        assert run.sandbox_tier == "good"
        assert registry.scores(session, "fp-mha", lab.key) == {0: (run_id, 2.5)}


def test_a_done_run_is_not_started_again(lab):
    run_id = lab.add_run("mha", 0)
    with lab.session() as session:
        assert not registry.start_run(session, run_id, directory="elsewhere", now=lab.now())
        assert registry.get_run(session, run_id).directory == f"runs/{run_id}"


def test_a_later_attempt_takes_a_run_over_and_the_earlier_one_is_shut_out(lab):
    with lab.session() as session:
        run_id = _plan(lab, session).run.id
        assert registry.start_run(session, run_id, directory="d", fence=1, now=5.0)
        assert registry.start_run(session, run_id, directory="d", fence=2, now=6.0)
        assert registry.get_run(session, run_id).started_at == 5.0
    with pytest.raises(registry.StaleFenceError, match="attempt 2"), lab.session() as session:
        registry.start_run(session, run_id, directory="d", fence=1, now=7.0)


def test_another_issue_that_needs_the_run_is_not_shut_out_by_its_fence(lab):
    with lab.session() as session:
        run_id = _plan(lab, session).run.id
        assert registry.start_run(session, run_id, directory="d", fence=7, now=5.0)
        start = {"directory": "d", "fence": 1, "issue_id": "arcfusion-b", "now": 6.0}
        assert registry.start_run(session, run_id, **start)
        assert registry.get_run(session, run_id).fence == 7


def test_a_failed_run_keeps_its_reason_and_figures_and_has_no_score(lab):
    run_id = lab.add_run("mha", 0, 1.0, outcome="diverged", reason="loss is NaN at step 7")
    with lab.session() as session:
        run = registry.get_run(session, run_id)
        assert (run.outcome, run.reason) == ("diverged", "loss is NaN at step 7")
        assert session.get(Metric, (run_id, "bits_per_byte")).value == 1.0
        assert registry.scores(session, "fp-mha", lab.key) == {}


@pytest.mark.parametrize("score", [None, math.nan, math.inf])
def test_a_completed_run_without_a_finite_score_is_invalid(lab, score):
    run_id = lab.add_run("mha", 0, 2.5)
    other = lab.add_run("mha", 1, score)
    with lab.session() as session:
        assert registry.get_run(session, other).outcome == "invalid"
        assert "score" in registry.get_run(session, other).reason
        assert registry.scores(session, "fp-mha", lab.key) == {0: (run_id, 2.5)}


def test_the_result_of_another_run_is_refused(lab, result_of):
    with lab.session() as session:
        run_id = _plan(lab, session).run.id
    with pytest.raises(BadInputError, match="run-other"), lab.session() as session:
        registry.settle_run(session, run_id, result_of("run-other"), now=1.0)


def test_an_unknown_run_is_not_found(lab):
    with pytest.raises(registry.RunNotFoundError, match="run-none"), lab.session() as session:
        registry.get_run(session, "run-none")


def test_the_first_replica_of_a_seed_is_the_score(lab):
    first = lab.add_run("mha", 0, 2.5)
    lab.add_run("mha", 0, 2.4, replica=1)
    with lab.session() as session:
        assert registry.scores(session, "fp-mha", lab.key) == {0: (first, 2.5)}
        assert len(registry.runs_for(session, "fp-mha", lab.key)) == 2


def test_what_is_planned_or_running_is_unsettled(lab):
    lab.add_run("mha", 0)
    with lab.session() as session:
        planned = _plan(lab, session, seed=1, issue_id="af-1").run.id
        running = _plan(lab, session, seed=2).run.id
        registry.start_run(session, running, directory="d", now=lab.now())
        assert [run.id for run in registry.unsettled_runs(session)] == [planned, running]
        assert [r.id for r in registry.unsettled_runs(session, issue_id="af-1")] == [planned]


def test_the_first_baseline_of_a_key_stays(lab):
    lab.add_run("mha", 0)
    with lab.session() as session:
        assert registry.set_baseline(session, lab.key, "fp-mha") == "fp-mha"
        assert registry.set_baseline(session, lab.key, "fp-mamba") == "fp-mha"


def test_a_repeated_gate_check_replaces_the_earlier_one(lab):
    def check(outcome):
        return GateResult(
            name="causality", outcome=outcome, figure=0.0, unit="logit", limit=1e-5, detail=""
        )

    with lab.session() as session:
        for outcome in (Outcome.FAIL, Outcome.PASS):
            registry.record_gates(
                session, "fp-mha", [check(outcome)], harness_version="1", now=lab.now()
            )
        assert session.get(GateRecord, ("fp-mha", "causality", "1")).outcome == "pass"


def test_an_artifact_is_stored_once(lab):
    run_id = lab.add_run("mha", 0)
    fields = {"kind": "card", "path": "card.md", "sha256": "00", "size_bytes": 3, "run_id": run_id}
    with lab.session() as session:
        first = registry.record_artifact(session, **fields, now=1.0)
        assert registry.record_artifact(session, **fields, now=2.0).id == first.id
        assert first.created_at == 1.0
