import json

import pytest
import yaml
from typer.testing import CliRunner

from arcfusion.agents.cli import app as cli
from arcfusion.agents.cli import daily, summary
from arcfusion.agents.cli.typed import build_app
from arcfusion.core.library.tables import Adjustment, Recipe
from arcfusion.core.spec import ArchSpec
from arcfusion.experiments import hypotheses, registry
from arcfusion.experiments.cards import CardNotFoundError, load_card, load_cards, render_card
from arcfusion.experiments.gates.record import GateResult, Outcome
from arcfusion.experiments.landscape import load_landscape
from arcfusion.experiments.protocol import Protocol
from arcfusion.issues.draft import Draft
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue


def _run_daily(*arguments):
    return (
        CliRunner().invoke(build_app(daily.command), list(arguments), catch_exceptions=False).stdout
    )


def _run_summary(*arguments):
    result = CliRunner().invoke(build_app(summary.app), ["recipe-cards", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture
def measured(lab):
    for name, start in (("mha", 2.6), ("mamba", 2.3), ("hybrid", 2.28)):
        lab.specs[name] = ArchSpec.preset(name)
        lab.add_scores(name, {seed: start + 0.01 * (seed % 3) for seed in range(4)})
    lab.add_run("mamba", 4, 2.33)
    lab.add_run("mha", 4, 2.62)
    lab.compare("mha", "mamba")
    lab.compare("mha", "hybrid")
    return lab


def _card(lab, name):
    with lab.reader() as connection:
        return load_card(connection, f"fp-{name}", lab.key)


def test_a_card_holds_what_is_needed_to_judge_and_repeat(measured):
    check = GateResult(
        name="causality", outcome=Outcome.PASS, figure=0.0, unit="logit", limit=1e-5, detail=""
    )
    with measured.session() as session:
        registry.record_gates(session, "fp-mamba", [check], harness_version="1", now=1.0)
    card = _card(measured, "mamba")
    text = render_card(card)
    for run in card.runs:
        assert f"| {run.seed} | {run.run_id} | {run.bits_per_byte:.4f} |" in text
    assert len(card.runs) == 5
    for fact in (card.fingerprint, measured.key, measured.protocol.data_sha256, "good"):
        assert fact in text
    assert "| causality | pass | 0 logit | 1e-05 |" in text
    assert "better" in text
    assert "mamba needs" in text
    for seed in range(5):
        train = f"arcfusion train recipe.yaml --protocol smoke --seed {seed} --replica 1"
        assert train in text
    assert "arcfusion compare mha recipe.yaml --protocol smoke --seed 0 --seeds 5" in text


def test_the_commands_on_a_card_exist_with_their_options(measured):
    application = build_app(cli.ROOT)
    block = render_card(_card(measured, "mamba")).split("## Reproduce")[1].split("```")[1]
    lines = block.strip().splitlines()
    assert len(lines) == 6
    for line in lines:
        _, verb, *words = line.split()
        text = CliRunner().invoke(application, [verb, "--help"]).stdout
        for word in words:
            assert not word.startswith("--") or word in text, line


def test_a_card_carries_a_protocol_that_is_no_preset(lab):
    lab.protocol = lab.protocol.model_copy(update={"name": "mine", "n_tracks": 8})
    lab.add_scores("mha", {0: 2.0, 1: 2.1})
    text = render_card(_card(lab, "mha"))
    assert "arcfusion train model.py --protocol protocol.yaml --seed 0" in text
    block = text.split("```yaml\n")[-1].split("```")[0]
    assert Protocol.from_yaml(block).key() == lab.key


def test_the_architecture_on_a_card_builds_the_same_spec(measured):
    text = render_card(_card(measured, "hybrid"))
    block = text.split("```yaml\n")[1].split("```")[0]
    assert ArchSpec.from_yaml(block).digest() == ArchSpec.preset("hybrid").digest()
    assert yaml.safe_load(block)["d_model"] == 64


def test_a_card_says_what_it_does_not_know(lab):
    lab.add_run("found", 0, 2.0, sandbox_tier="weak")
    card = _card(lab, "found")
    text = render_card(card)
    assert "One seed: no verdict can be given." in text
    assert "Sandbox tier weak" in text
    assert "No gate result is on record." in text
    assert "it has no ArchSpec" in text
    assert "arcfusion compare" not in text


def test_a_card_tells_the_lineage_with_its_adjustments(measured):
    with measured.session() as session:
        run = registry.runs_for(session, "fp-mamba", measured.key)[0]
        session.add(
            Recipe(
                id="recipe-1",
                architecture_id=run.architecture_id,
                strategy="mutate",
                seed=7,
                parents='["mha"]',
                reasoning="mixers swapped",
                score=1.0,
                created_at=1.0,
            )
        )
        session.flush()
        session.add(
            Adjustment(
                recipe_id="recipe-1",
                position=0,
                kind="param_change",
                original="n_heads 3",
                adjusted="n_heads 4",
                reason="3 does not divide 64",
            )
        )
    text = render_card(_card(measured, "mamba"))
    assert "recipe-1: mutate with seed 7, parents mha: mixers swapped" in text
    assert "adjusted (param_change): n_heads 3 -> n_heads 4, 3 does not divide 64" in text


def test_no_card_without_a_completed_run(measured):
    measured.add_run("broken", 0, None, outcome="crashed", reason="boom")
    with pytest.raises(CardNotFoundError, match="fp-broken"):
        _card(measured, "broken")
    with measured.reader() as connection:
        assert {card.name for card in load_cards(connection)} == {"mha", "mamba", "hybrid"}


def test_the_command_prints_and_writes_cards(measured, tmp_path):
    assert _run_summary().count("## Reproduce") == 3
    cards = json.loads(_run_summary("--json"))["data"]["cards"]
    assert {card["name"] for card in cards} == {"mha", "mamba", "hybrid"}
    assert all(card["markdown"].startswith(f"# {card['name']}") for card in cards)
    directory = tmp_path / "cards"
    assert _run_summary("--output", str(directory)) == ""
    assert (directory / f"fp-mamba-{measured.key}.md").read_text().startswith("# mamba")
    assert len(list(directory.iterdir())) == 3


def test_an_empty_lab_has_no_cards(lab):
    del lab
    assert "no card yet" in _run_summary()
    assert json.loads(_run_summary("--json"))["data"] == {"cards": []}


def test_daily_fits_on_one_screen_however_much_there_is(measured):
    for i in range(12):
        name = f"an-architecture-with-a-rather-long-name-{i}"
        measured.add_scores(name, {0: 3.0 + i, 1: 3.1 + i, 2: 3.15 + i})
        measured.compare("mha", name)
    with measured.reader() as connection:
        landscape = load_landscape(connection, measured.key)
    with measured.session() as session:
        proposals = hypotheses.propose(landscape)
        hypotheses.record_hypotheses(session, proposals, now=1.0)
    handoff = Handoff(tried="t", result="r", next="n")
    with Queue(measured.home, "worker-1") as queue:
        for number in range(3):
            queue.create(Draft(title=f"issue {number}"))
            queue.release(queue.claim(), handoff, question="Which of the two\nwidths? " * 20)
    text = _run_daily()
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    for title in ("Pareto winners", "Insights", "Next experiments"):
        assert title in text
    assert sum(line.startswith("  ins-") for line in lines) == 5
    assert 5 <= sum(line.startswith("  hyp-") for line in lines) <= 10
    assert "Waiting for a person: 3" in text
    assert text.count("worker-1 asks: Which of the two widths?") == 2
    document = json.loads(_run_daily("--json"))["data"]
    assert len(document["leaderboard"]) == 15
    assert len(document["insights"]) == 5
    assert 5 <= len(document["hypotheses"]) <= 10
    assert [row["name"] for row in document["pareto"]] == ["hybrid"]
    assert len(document["questions"]) == 3


def test_daily_shows_the_key_of_the_latest_run_or_the_one_that_is_named(measured):
    other = measured.protocol.resolve(measured.protocol.data_sha256, device_class="cuda:A100")
    measured.add_run("mha", 0, 1.0, protocol=other)
    assert _run_daily().startswith(other.key())
    assert _run_daily("--key", measured.key).startswith(measured.key)


def test_daily_of_an_empty_lab_says_so(lab):
    del lab
    text = _run_daily()
    assert "no completed run yet" in text
    assert "no hypothesis yet" in text
    assert json.loads(_run_daily("--json"))["data"] == {
        "key": None,
        "leaderboard": [],
        "pareto": [],
        "insights": [],
        "hypotheses": [],
        "questions": [],
    }
