import statistics
from datetime import UTC, datetime
from random import Random

import pytest
import torch
from sqlmodel import select

from arcfusion.core import store
from arcfusion.core.composer import STRATEGIES, Constraints, UnknownStrategyError, dream
from arcfusion.core.composer import mutate as mutations
from arcfusion.core.composer.batch import identify_spec
from arcfusion.core.composer.crossover import TooFewParentsError
from arcfusion.core.composer.grammar import BadConstraintsError, Grammar
from arcfusion.core.composer.saved import save_dream
from arcfusion.core.composer.score import compute_score, compute_similarity
from arcfusion.core.errors import BadInputError
from arcfusion.core.home import new_home
from arcfusion.core.library import tables
from arcfusion.core.library.engines import list_engines
from arcfusion.core.library.relations import Relations
from arcfusion.core.model import LanguageModel
from arcfusion.core.spec import ArchSpec, SpecError
from arcfusion.experiments.gates import Outcome, run_gates

SMALL = Constraints(vocab_size=64, d_model=32, max_layers=2, max_seq_len=256)


def quick(strategy, **arguments):
    """Dream without building the models: what a spec says stands for what it builds."""
    arguments = {"seed": 0, "n": 20, "identify": lambda spec: spec.digest(), **arguments}
    return dream(strategy, **arguments)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dreams_build_and_pass_the_forward_and_causality_gates(strategy):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        n = 24 if strategy == "random" else 12
        dreams = dream(strategy, seed=5, n=n, constraints=SMALL)
        assert len(dreams) == n
        for one in dreams:
            report = run_gates(LanguageModel(one.spec, seed=0), only=("forward", "causality"))
            assert report.verdict is Outcome.PASS, (one.spec, report)
        assert len({one.fingerprint for one in dreams}) == n
        assert dreams[3].fingerprint == identify_spec(dreams[3].spec)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_dreams_and_another_seed_others(strategy):
    once, again, other = quick(strategy), quick(strategy), quick(strategy, seed=1)
    assert once == again
    assert [d.spec for d in once] != [d.spec for d in other]
    assert [d.spec for d in quick(strategy, n=5)] == [d.spec for d in once[:5]]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_dream_stays_inside_its_constraints_and_says_where_it_comes_from(strategy):
    limits = Constraints(
        d_model=48,
        vocab_size=99,
        min_layers=2,
        max_layers=5,
        max_seq_len=77,
    )
    for one in quick(strategy, constraints=limits):
        spec = one.spec
        assert (spec.d_model, spec.vocab_size, spec.max_seq_len) == (48, 99, 77)
        assert 2 <= len(spec.layers) <= 5
        assert 0 <= one.score <= 1
        assert one.reasoning.endswith(".")
        assert bool(one.parents) == (strategy in {"mutate", "crossover"})


def test_only_the_allowed_components_are_drawn():
    limits = Constraints(mixers=("mamba1", "mqa"), channels=("swiglu",))
    kinds = {
        kind
        for one in quick("random", constraints=limits)
        for layer in one.spec.layers
        for kind in (layer.mixer.kind, layer.channel.kind)
    }
    assert kinds == {"mamba1", "mqa", "swiglu"}


def test_every_component_and_every_setting_is_reached_by_random_dreams():
    dreams = quick("random", n=150)
    layers = [layer for one in dreams for layer in one.spec.layers]
    grammar = Grammar(Constraints())
    assert {layer.mixer.kind for layer in layers} == set(grammar.mixer_kinds)
    assert {layer.channel.kind for layer in layers} == set(grammar.channel_kinds)
    assert {one.spec.position for one in dreams} == {"rope", "learned", "none"}
    assert {one.spec.norm for one in dreams} == {"rmsnorm", "layernorm"}
    heads = {x.mixer.options["n_heads"] for x in layers if x.mixer.kind == "mha"}
    assert heads == {1, 2, 4, 8, 16}


def test_the_score_carries_information():
    scores = [one.score for one in quick("random", n=60)]
    assert statistics.stdev(scores) > 0.04
    assert len(set(scores)) > 40
    assert max(scores) < 1


def test_a_known_engine_has_no_novelty_and_greedy_has_more_evidence_than_random():
    engines = list_engines()
    relations = Relations(engines)
    for engine in engines:
        assert compute_score(engine.spec, relations, engines).novelty == pytest.approx(0)
        assert compute_similarity(engine.spec, engine.spec) == pytest.approx(1)

    def coherence(strategy):
        dreams = quick(strategy, n=30)
        return statistics.mean(compute_score(d.spec, relations, engines).coherence for d in dreams)

    assert coherence("greedy") > coherence("random") + 0.05


def test_rotary_positions_that_no_mixer_applies_are_taken_out_and_recorded():
    dreams = quick("random", n=40, constraints=Constraints(mixers=("mamba1",)))
    adjusted = [one for one in dreams if one.adjustments]
    assert adjusted
    assert all(one.spec.position != "rope" for one in dreams)
    assert adjusted[0].adjustments[0].original == "position: rope"
    assert adjusted[0].spec.position == "none"


def parent_of_six():
    return ArchSpec.preset("hybrid").with_size(n_layers=6).replaced(position="learned")


@pytest.mark.parametrize("edit", mutations.EDITS, ids=lambda edit: edit.__name__)
def test_a_mutation_changes_exactly_what_it_says(edit):
    grammar, parent = Grammar(Constraints()), parent_of_six()
    for number in range(30):
        changed = edit(grammar, Random(number), parent)
        assert changed is not None
        changes = parent.diff(changed.spec)
        match edit.__name__:
            case "insert_layer":
                at = int(changed.text.rsplit(" ", 1)[1])
                layers = list(changed.spec.layers)
                del layers[at]
                assert tuple(layers) == parent.layers
            case "drop_layer":
                at = int(changed.text.split()[1])
                layers = list(parent.layers)
                del layers[at]
                assert tuple(layers) == changed.spec.layers
            case "swap_layers":
                assert sorted(map(str, changed.spec.layers)) == sorted(map(str, parent.layers))
                assert (
                    0
                    < sum(a != b for a, b in zip(parent.layers, changed.spec.layers, strict=True))
                    == 2
                )
            case _:
                assert len(changes) == 1


def test_a_mutant_names_its_parent_and_its_changes():
    parent = parent_of_six()
    for one in quick("mutate", parents=[parent], n=40):
        assert one.parents == ("hybrid",)
        assert one.changes == tuple(parent.diff(one.spec.replaced(name=parent.name)))
        assert one.changes
        assert one.reasoning.startswith("hybrid, with ")


def test_a_crossover_child_has_layers_and_settings_of_its_two_parents_only():
    mother, father = ArchSpec.preset("mamba"), ArchSpec.preset("mqa")
    for one in quick("crossover", parents=[mother, father], n=8):
        assert set(one.parents) == {"mamba", "mqa"}
        first, second = (mother, father) if one.parents[0] == "mamba" else (father, mother)
        layers = one.spec.layers
        cuts = range(1, len(layers))
        assert any(
            layers[:cut] == first.layers[:cut]
            and layers[cut:] == second.layers[len(second.layers) - len(layers) + cut :]
            for cut in cuts
        )
        assert one.spec.norm in {mother.norm, father.norm}
        assert one.spec.position in {mother.position, father.position, "none"}


def test_a_single_parent_is_crossed_with_the_engines():
    engines = {e.name for e in list_engines()}
    for one in quick("crossover", parents=[ArchSpec.preset("mqa")], n=10):
        assert "mqa" in one.parents
        assert len(set(one.parents) & engines) == 1


def test_what_was_built_before_and_what_repeats_is_dropped_with_a_reason():
    free = quick("random", n=6)
    known = {free[0].fingerprint, free[2].fingerprint}
    rest = quick("random", n=4, known=known)
    assert [d.spec for d in rest] == [free[i].spec for i in (1, 3, 4, 5)]
    assert [d.reason for d in rest[0].dropped] == ["its model was built before"]
    same = quick("random", n=3, identify=lambda _: "fp0")
    assert len(same) == 1


def test_a_repeated_model_under_another_name_is_dropped():
    limits = Constraints(d_model=8, max_layers=1, mixers=("mqa",), channels=("mlp",))
    dreams = quick("random", n=40, constraints=limits)
    # 3 ratios x 3 positions x 2 norms x tied or not.
    assert len(dreams) == 36
    assert sum(len(one.dropped) for one in dreams) > 30


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"strategy": "genetic"}, UnknownStrategyError, "random, greedy, mutate, crossover"),
        ({"n": 0}, BadInputError, "at least 1"),
        (
            {"strategy": "crossover", "constraints": Constraints(d_model=1)},
            TooFewParentsError,
            "--parent",
        ),
        (
            {"strategy": "mutate", "parents": [ArchSpec.preset("mha")],
             "constraints": Constraints(d_model=30)},
            SpecError,
            "heads",
        ),
        ({"constraints": Constraints(d_model=1, mixers=("mha",))}, BadConstraintsError, "mixer"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_is_allowed(arguments, error, text):
    with pytest.raises(error, match=text):
        quick(**{"strategy": "random", **arguments})


def test_bad_constraints_are_refused():
    with pytest.raises(BadConstraintsError, match="layers from 3 to 2"):
        Constraints(min_layers=3, max_layers=2)
    with pytest.raises(SpecError, match="mamba1"):
        Constraints(mixers=("mamba",))


def test_a_saved_dream_is_a_recipe_an_architecture_and_its_adjustments_once(tmp_path):
    home = new_home(tmp_path)
    store.create(home)
    now = datetime(2026, 7, 1, tzinfo=UTC)
    mamba = Constraints(mixers=("mamba1",))
    one = next(d for d in quick("random", n=40, constraints=mamba) if d.adjustments)
    for _ in range(2):
        with store.session(home) as session:
            recipe_id = save_dream(session, one, now=now)
    with store.session(home) as session:
        (recipe,) = session.exec(select(tables.Recipe)).all()
        (architecture,) = session.exec(select(tables.Architecture)).all()
        (adjustment,) = session.exec(select(tables.Adjustment)).all()
        assert (recipe.id, recipe.strategy, recipe.seed) == (recipe_id, "random", 0)
        assert recipe.architecture_id == architecture.id
        assert recipe.reasoning == one.reasoning
        assert ArchSpec.model_validate_json(architecture.spec) == one.spec
        assert architecture.fingerprint == one.fingerprint
        assert len(architecture.code_sha256) == 64
        assert adjustment.adjusted == "position: none"
