import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import hypotheses as command
from arcfusion.agents.cli.typed import build_app
from arcfusion.core.spec import ArchSpec
from arcfusion.experiments import comparisons, hypotheses
from arcfusion.experiments.landscape import (
    load_landscape,
    predict_difference,
    predict_replication,
)
from arcfusion.experiments.student import two_sided_quantile

SCORES = {
    "mha": {0: 2.60, 1: 2.62, 2: 2.61},
    "mamba": {0: 2.30, 1: 2.325, 2: 2.31},
    "hybrid": {0: 2.28, 1: 2.30, 2: 2.285},
}


def _landscape(lab):
    with lab.reader() as connection:
        return load_landscape(connection, lab.key)


def _propose(lab, **options):
    with lab.reader() as connection:
        settled = hypotheses.settled_ids(connection, lab.key)
    return hypotheses.propose(_landscape(lab), settled=settled, **options)


def _without_cost(proposals):
    return [
        {name: getattr(p, name) for name in type(p).__dataclass_fields__ if name != "cost_s"}
        for p in proposals
    ]


def _add_presets(lab, *names, seconds=4.0):
    for name in names:
        lab.specs[name] = ArchSpec.preset(name)
        lab.add_scores(name, SCORES[name], seconds=seconds)


@pytest.fixture
def measured(lab):
    _add_presets(lab, *SCORES)
    lab.compare("mha", "mamba")
    lab.compare("mha", "hybrid")
    return lab


def test_a_lab_with_three_architectures_gets_five_to_ten_hypotheses_of_several_kinds(measured):
    proposals = _propose(measured)
    assert 5 <= len(proposals) <= 10
    assert len({p.kind for p in proposals}) >= 5
    assert len({p.id for p in proposals}) == len(proposals)
    assert [p.priority for p in proposals] == sorted((p.priority for p in proposals), reverse=True)


def test_every_hypothesis_can_be_run_and_can_fail(measured):
    tried = {spec.digest() for spec in measured.specs.values()}
    for proposal in _propose(measured, limit=50):
        assert proposal.predicted_low < proposal.predicted_high
        assert proposal.cost_s > 0
        assert len(set(proposal.seeds)) >= 5
        assert "99% interval" in proposal.kill_criterion
        assert proposal.predicted_verdict in ("better", "worse")
        if proposal.kind == "replication":
            assert proposal.spec is None
            assert proposal.candidate_fingerprint in ("fp-mamba", "fp-hybrid")
            assert not set(proposal.seeds) & {0, 1, 2}
        else:
            assert ArchSpec.from_yaml(proposal.spec).digest() not in tried


def test_gaps_are_filled_and_what_was_measured_is_not(measured):
    proposals = _propose(measured, limit=50)
    components = {
        frozenset(layer.mixer.kind for layer in ArchSpec.from_yaml(p.spec).layers)
        for p in proposals
        if p.kind == "component"
    }
    assert components == {
        frozenset({"gqa"}), frozenset({"mqa"}), frozenset({"linear_attention"}),
    }  # fmt: skip
    pairs = {
        frozenset(layer.mixer.kind for layer in ArchSpec.from_yaml(p.spec).layers)
        for p in proposals
        if p.kind == "pair"
    }
    assert frozenset({"mamba1", "mha"}) not in pairs
    assert frozenset({"mamba1", "gqa"}) in pairs


def test_an_ablation_changes_one_thing_of_the_best(measured):
    best = _landscape(measured).best()
    assert best.name == "hybrid"
    ablations = [p for p in _propose(measured, limit=50) if p.kind == "ablation"]
    assert len(ablations) >= 3
    for proposal in ablations:
        changes = best.spec.diff(ArchSpec.from_yaml(proposal.spec))
        aspects = {c.split(":")[0].split(" ")[-1] for c in changes}
        assert len(aspects) == 1, changes
        assert proposal.predicted_verdict == "worse"


def test_the_same_database_gives_the_same_hypotheses_and_the_clock_changes_only_costs(
    lab, tmp_path_factory, empty_database
):
    import shutil

    from arcfusion.core.home import Home

    found = []
    for seconds in (4.0, 400.0):
        path = tmp_path_factory.mktemp("home")
        shutil.copy(empty_database, path / "lab.db")
        lab.home = Home(path)
        lab.clock = seconds
        _add_presets(lab, *SCORES, seconds=seconds)
        lab.compare("mha", "mamba")
        found.append(_propose(lab))
    assert _without_cost(found[0]) == _without_cost(found[1])
    assert [100 * p.cost_s for p in found[0]] == pytest.approx([p.cost_s for p in found[1]])


def test_proposals_are_stored_once_and_filed_once(measured):
    for _ in range(2):
        with measured.session() as session:
            rows = hypotheses.record_hypotheses(session, _propose(measured), now=measured.now())
    with measured.session() as session:
        first = hypotheses.file_hypothesis(session, rows[0].id, "af-1")
        assert (first.status, first.issue_id) == ("filed", "af-1")
        assert hypotheses.file_hypothesis(session, rows[0].id, "af-2").issue_id == "af-1"
    with measured.reader() as connection:
        views = hypotheses.list_hypotheses(connection)
    assert len(views) == len(rows)
    assert {v.status for v in views} == {"filed", "proposed"}


def _settle(lab, proposal, scores):
    """Measure the proposal's candidate with these scores and settle it; returns its status."""
    with lab.session() as session:
        hypotheses.record_hypotheses(session, [proposal], now=lab.now())
    lab.specs["candidate"] = ArchSpec.from_yaml(proposal.spec)
    lab.add_scores("candidate", scores)
    reference = proposal.reference_fingerprint.removeprefix("fp-")
    for seed in scores:
        lab.add_run(reference, seed, 2.28 + 0.01 * (seed % 3))
    with lab.session() as session:
        comparison = comparisons.compare_architectures(
            session,
            baseline=proposal.reference_fingerprint,
            candidate="fp-candidate",
            protocol_key=lab.key,
            seeds=list(scores),
            now=lab.now(),
        )
        return hypotheses.settle_hypothesis(session, proposal.id, comparison, now=lab.now())


def test_a_refuted_hypothesis_is_never_proposed_again_under_its_key(measured):
    proposal = next(p for p in _propose(measured) if p.kind == "component")
    assert _settle(measured, proposal, dict.fromkeys(proposal.seeds, 2.9)) == "refuted"
    # Even when the architecture's runs are forgotten, the hypothesis is not.
    with measured.reader() as connection:
        connection.execute("DELETE FROM architecture WHERE name = 'candidate'")
    assert proposal.id not in {p.id for p in _propose(measured, limit=50)}
    landscape = _landscape(measured)
    assert proposal.id in {p.id for p in hypotheses.propose(landscape, limit=50)}


def test_a_met_prediction_is_confirmed_and_its_coverage_is_noted(measured):
    proposal = next(p for p in _propose(measured) if p.kind == "component")
    scores = {s: 2.18 + 0.01 * (s % 3) for s in proposal.seeds}
    assert _settle(measured, proposal, scores) == "confirmed"
    with measured.reader() as connection:
        (view,) = hypotheses.list_hypotheses(connection, is_open=False)
        covered = connection.execute("SELECT is_covered FROM hypothesis").fetchone()[0]
    assert (view.id, view.status) == (proposal.id, "confirmed")
    assert covered == int(proposal.predicted_low <= -0.1 <= proposal.predicted_high)


def test_too_few_seeds_do_not_refute(measured):
    proposal = next(p for p in _propose(measured) if p.kind == "component")
    assert _settle(measured, proposal, {0: 2.9, 1: 2.95}) == "proposed"


def test_a_settled_hypothesis_stays_settled(measured):
    proposal = next(p for p in _propose(measured) if p.kind == "component")
    _settle(measured, proposal, dict.fromkeys(proposal.seeds, 2.9))
    comparison, _ = measured.compare("mha", "mamba")
    with measured.session() as session:
        status = hypotheses.settle_hypothesis(session, proposal.id, comparison, now=1.0)
    assert status == "refuted"


def test_a_spec_whose_run_failed_is_not_proposed(measured):
    proposal = next(p for p in _propose(measured, limit=50) if p.kind == "component")
    measured.specs["failed"] = ArchSpec.from_yaml(proposal.spec)
    measured.add_run("failed", 0, None, outcome="diverged")
    assert proposal.spec not in {p.spec for p in _propose(measured, limit=50)}


def test_nothing_measured_gives_no_hypothesis(lab):
    assert _propose(lab) == []


def test_one_run_has_no_spread_to_predict_from(lab):
    lab.specs["mha"] = ArchSpec.preset("mha")
    lab.add_run("mha", 0, 2.6)
    assert _propose(lab) == []


def test_model_files_without_a_spec_have_only_replications(lab):
    lab.add_scores("mha", SCORES["mha"])
    lab.add_scores("mamba", SCORES["mamba"])
    lab.compare("mha", "mamba")
    assert [p.kind for p in _propose(lab)] == ["replication"]


def test_a_prediction_is_the_size_of_the_effects_that_were_seen(measured):
    landscape = _landscape(measured)
    best = landscape.best()
    predicted = predict_difference(landscape, best)
    effects = [m.mean - best.mean for m in landscape.measured if m.name != best.name]
    size = (sum(e * e for e in effects) / 2) ** 0.5
    assert predicted.high == pytest.approx(two_sided_quantile(0.8, 2) * size)
    assert predicted.low == -predicted.high


def test_a_replication_is_expected_around_the_effect_and_more_narrowly_with_more_seeds(measured):
    insight = _landscape(measured).insights[0]
    few, many = predict_replication(insight, 2), predict_replication(insight, 20)
    assert (few.low + few.high) / 2 == pytest.approx(insight.effect)
    assert many.high - many.low < few.high - few.low


def test_the_command_lists_open_hypotheses(measured):
    runner, app = CliRunner(), build_app(command.app)
    assert "no hypothesis yet" in runner.invoke(app, []).stdout
    assert json.loads(runner.invoke(app, ["--json"]).stdout)["data"] == {"hypotheses": []}
    with measured.session() as session:
        rows = hypotheses.record_hypotheses(session, _propose(measured), now=1.0)
    document = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    priorities = [h["priority"] for h in document["data"]["hypotheses"]]
    assert priorities == sorted(priorities, reverse=True)
    assert {h["id"] for h in document["data"]["hypotheses"]} == {row.id for row in rows}
    text = runner.invoke(app, ["list", "--all"]).stdout
    assert all(row.id in text and row.kill_criterion in text for row in rows)


def test_an_unknown_hypothesis_is_not_found(lab):
    with (
        pytest.raises(hypotheses.HypothesisNotFoundError, match="hyp-none"),
        lab.session() as session,
    ):
        hypotheses.file_hypothesis(session, "hyp-none", "af-1")
