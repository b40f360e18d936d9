import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import insights as command
from arcfusion.agents.cli.typed import build_app
from arcfusion.core.errors import BadInputError
from arcfusion.experiments import comparisons, registry
from arcfusion.experiments.compare import KeyMismatchError, NoPairedSeedsError
from arcfusion.experiments.insights import (
    Evidence,
    InsightNotFoundError,
    judge_evidence,
    list_insights,
    show_insight,
)

MHA = {0: 2.60, 1: 2.62, 2: 2.61}
MAMBA = {0: 2.30, 1: 2.325, 2: 2.31}


def _shift(scores, by, start=0):
    return {seed + start: value + by for seed, value in scores.items()}


def _statuses(lab):
    with lab.reader() as connection:
        return {i.id: i.status for i in list_insights(connection)}


@pytest.fixture
def pair(lab):
    lab.add_scores("mha", MHA)
    lab.add_scores("mamba", MAMBA)
    return lab


def test_a_difference_becomes_a_scoped_claim_that_names_its_runs(pair):
    comparison, insight = pair.compare("mha", "mamba")
    assert comparison.verdict == "better"
    assert insight.claim.startswith("mamba needs 0.2983 bits per byte fewer than mha (99% interval")
    assert "3 paired seeds" in insight.claim
    assert insight.scope.startswith(f"{pair.key} = smoke: pydoc")
    assert "200,000 parameters against 200,000 parameters" in insight.scope
    expected = [
        registry.run_id_of(f"fp-{name}", pair.key, seed)
        for name in ("mha", "mamba")
        for seed in MHA
    ]
    assert json.loads(insight.run_ids) == expected
    assert insight.status == "open"


def test_no_difference_becomes_a_bound(lab):
    lab.add_scores("mha", MHA)
    lab.add_scores("gqa", _shift({0: 2.61, 1: 2.615, 2: 2.60}, 0.0))
    comparison, insight = lab.compare("mha", "gqa")
    assert comparison.verdict == "indistinguishable"
    bound = max(abs(comparison.low), abs(comparison.high))
    assert insight.claim.startswith(f"no difference larger than {bound:.4f} bits per byte shown")


def test_one_seed_makes_no_claim(lab):
    lab.add_run("mha", 0, 2.6)
    lab.add_run("mamba", 0, 1.0)
    comparison, insight = lab.compare("mha", "mamba")
    assert comparison.verdict == "indistinguishable"
    assert insight is None


def test_an_architecture_against_itself_makes_no_claim(pair):
    comparison, insight = pair.compare("mha", "mha")
    assert comparison.mean_difference == 0.0
    assert insight is None


def test_the_same_comparison_is_one_comparison_and_one_insight(pair):
    first, again = pair.compare("mha", "mamba"), pair.compare("mha", "mamba")
    assert (first[0].id, first[1].id) == (again[0].id, again[1].id)
    assert len(_statuses(pair)) == 1


def test_the_first_comparison_sets_the_baseline_of_the_key(pair):
    pair.compare("mha", "mamba")
    pair.compare("mamba", "mha")
    with pair.session() as session:
        assert registry.set_baseline(session, pair.key, "fp-other") == "fp-mha"


def test_the_same_direction_on_fresh_seeds_replicates_both(pair):
    _, old = pair.compare("mha", "mamba")
    pair.add_scores("mha", _shift(MHA, 0.01, start=10))
    pair.add_scores("mamba", _shift(MAMBA, 0.012, start=10))
    _, new = pair.compare("mha", "mamba", seeds=[10, 11, 12])
    assert _statuses(pair) == {old.id: "replicated", new.id: "replicated"}
    with pair.reader() as connection:
        assert show_insight(connection, old.id).related == [new.id]


def test_the_opposite_direction_contradicts_both_even_with_the_sides_swapped(pair):
    _, old = pair.compare("mha", "mamba")
    pair.add_scores("mha", _shift(MAMBA, 0.0, start=10))
    pair.add_scores("mamba", _shift(MHA, 0.0, start=10))
    _, new = pair.compare("mamba", "mha", seeds=[10, 11, 12])
    assert new.verdict == "better"
    assert _statuses(pair) == {old.id: "contradicted", new.id: "contradicted"}


def test_a_difference_that_fresh_seeds_do_not_show_is_refuted(pair):
    pair.add_scores("mha", {10: 2.6, 11: 2.2, 12: 2.9})
    pair.add_scores("mamba", {10: 2.4, 11: 2.5, 12: 2.6})
    _, old = pair.compare("mha", "mamba", seeds=[0, 1, 2])
    _, new = pair.compare("mha", "mamba", seeds=[10, 11, 12])
    assert new.verdict == "indistinguishable"
    assert _statuses(pair) == {old.id: "refuted", new.id: "open"}


def test_more_seeds_in_the_same_direction_let_the_insight_grow(pair):
    _, old = pair.compare("mha", "mamba")
    pair.add_run("mha", 3, 2.63)
    pair.add_run("mamba", 3, 2.33)
    _, grown = pair.compare("mha", "mamba")
    assert (grown.id, grown.n_seeds, grown.status) == (old.id, 4, "open")
    assert len(json.loads(grown.run_ids)) == 8


def test_fewer_seeds_leave_the_insight_as_it_is(pair):
    _, old = pair.compare("mha", "mamba")
    _, same = pair.compare("mha", "mamba", seeds=[0, 1])
    assert (same.id, same.n_seeds) == (old.id, 3)


def test_another_key_is_another_scope(pair):
    _, old = pair.compare("mha", "mamba")
    pair.protocol = pair.protocol.resolve(pair.protocol.data_sha256, device_class="cuda:A100")
    pair.add_scores("mha", MAMBA)
    pair.add_scores("mamba", MHA)
    _, new = pair.compare("mha", "mamba")
    assert new.verdict == "worse"
    assert _statuses(pair) == {old.id: "open", new.id: "open"}


def _evidence(verdict, low, high, seeds):
    return Evidence(verdict=verdict, low=low, high=high, seeds=frozenset(seeds))


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (("better", -3, -1, {0, 1}), ("better", -4, -2, {2, 3}), "replicated"),
        (("better", -3, -1, {0, 1}), ("better", -4, -2, {1, 2}), "open"),
        (("better", -3, -1, {0, 1}), ("worse", 1, 2, {1, 2}), "contradicted"),
        (("better", -3, -2, {0, 1}), ("indistinguishable", -1, 1, {5, 6}), "contradicted"),
        (("better", -3, -1, {0, 1}), ("indistinguishable", -2, 1, {5, 6}), "refuted"),
        (("better", -3, -1, {0, 1}), ("indistinguishable", -2, 1, {0, 1, 2}), "refuted"),
        (("better", -3, -1, {0, 1, 2}), ("indistinguishable", -2, 1, {5, 6}), "open"),
        (("indistinguishable", -2, 2, {0, 1}), ("better", -3, -1, {5, 6}), "open"),
        (("indistinguishable", -2, 2, {0, 1}), ("better", -9, -5, {5, 6}), "contradicted"),
        (("indistinguishable", -2, 2, {0, 1}), ("indistinguishable", -1, 1, {5, 6}), "replicated"),
    ],
)
def test_new_evidence_is_judged_like_this(old, new, status):
    assert judge_evidence(_evidence(*old), _evidence(*new)) == status


def test_runs_under_different_keys_are_not_compared(pair):
    other = pair.protocol.resolve(pair.protocol.data_sha256, device_class="cuda:A100")
    foreign = pair.add_scores("mha", MHA, protocol=other)
    ours = [registry.run_id_of("fp-mamba", pair.key, seed) for seed in MAMBA]
    with pytest.raises(KeyMismatchError, match="one protocol"), pair.session() as session:
        comparisons.compare_runs(session, baseline_run_ids=foreign, candidate_run_ids=ours, now=1.0)


def test_a_failed_run_is_not_compared(pair):
    failed = pair.add_run("broken", 0, 0.1, outcome="leak", reason="suffix")
    ours = registry.run_id_of("fp-mha", pair.key, 0)
    with (
        pytest.raises(comparisons.UnscoredRunError, match="leak"),
        pair.session() as session,
    ):
        comparisons.compare_runs(
            session, baseline_run_ids=[ours], candidate_run_ids=[failed], now=1.0
        )


def test_one_side_is_one_architecture_with_one_run_a_seed(pair):
    ids = [registry.run_id_of(f"fp-{name}", pair.key, 0) for name in ("mha", "mamba")]
    replica = pair.add_run("mha", 0, 2.6, replica=1)
    for side in (ids, [ids[0], replica]):
        with pytest.raises(BadInputError), pair.session() as session:
            comparisons.compare_runs(
                session, baseline_run_ids=side, candidate_run_ids=ids[1:], now=1.0
            )


def test_no_common_seed_or_no_run_at_all_is_refused(pair):
    pair.add_run("other", 9)
    for candidate in ("other", "nobody"):
        with pytest.raises(NoPairedSeedsError, match="same seeds"):
            pair.compare("mha", candidate)
    with pytest.raises(NoPairedSeedsError), pair.session() as session:
        comparisons.compare_runs(session, baseline_run_ids=[], candidate_run_ids=[], now=1.0)


def test_comparisons_are_found_by_their_issue(pair):
    comparison, _ = pair.compare("mha", "mamba", issue_id="af-1")
    with pair.session() as session:
        assert [c.id for c in comparisons.comparisons_of(session, "af-1")] == [comparison.id]
        assert comparisons.comparisons_of(session, "af-2") == []


def test_the_command_lists_and_shows(pair):
    runner, app = CliRunner(), build_app(command.app)
    assert "no insight yet" in runner.invoke(app, []).stdout
    assert json.loads(runner.invoke(app, ["list", "--json"]).stdout)["data"] == {"insights": []}
    _, insight = pair.compare("mha", "mamba")
    for arguments in (["--json"], ["list", "--json", "--status", "open"]):
        document = json.loads(runner.invoke(app, arguments).stdout)
        assert [i["id"] for i in document["data"]["insights"]] == [insight.id]
        assert len(document["data"]["insights"][0]["run_ids"]) == 6
    text = runner.invoke(app, ["show", insight.id]).stdout
    assert insight.claim in text
    assert "runs: run-" in text
    document = json.loads(runner.invoke(app, ["show", insight.id, "--json"]).stdout)
    assert document["data"]["scope"] == insight.scope


def test_an_unknown_insight_is_not_found(lab):
    with lab.reader() as connection, pytest.raises(InsightNotFoundError, match="ins-none"):
        show_insight(connection, "ins-none")


def test_json_before_the_verb_is_refused(lab):
    del lab
    result = CliRunner().invoke(build_app(command.app), ["--json", "list"])
    assert isinstance(result.exception, BadInputError)
