import math

import numpy as np
import pytest

from arcfusion.core.errors import BadInputError
from arcfusion.experiments.compare import (
    SMALLEST_DEVIATION_BPB,
    NoPairedSeedsError,
    compare_paired,
)


def _scores(values):
    return dict(enumerate(map(float, values)))


def _share_better(rng, n_pairs, n_seeds, effect, seed_sigma=0.05, noise=0.01):
    """Share of simulated pairs called better; `effect` in standard deviations of the difference."""
    better = 0
    for _ in range(n_pairs):
        common = 2.0 + seed_sigma * rng.standard_normal(n_seeds)
        a = common + noise * rng.standard_normal(n_seeds)
        b = common + noise * rng.standard_normal(n_seeds) - effect * noise * math.sqrt(2)
        better += compare_paired(_scores(a), _scores(b)).verdict == "better"
    return better / n_pairs


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_at_most_one_in_a_hundred_equal_pairs_is_called_better(n_seeds):
    rng = np.random.default_rng(n_seeds)
    assert _share_better(rng, 2000, n_seeds, effect=0.0) <= 0.01


def test_an_effect_of_three_deviations_is_found_with_the_stated_power():
    rng = np.random.default_rng(0)
    assert _share_better(rng, 1000, 6, effect=3.0) >= 0.95
    assert 0.85 <= _share_better(rng, 1000, 5, effect=3.0) <= 0.93


def test_pairing_finds_what_the_spread_of_the_seeds_would_hide():
    a = {0: 2.00, 1: 2.30, 2: 2.60, 3: 2.90}
    b = {seed: value - 0.05 + 0.001 * seed for seed, value in a.items()}
    found = compare_paired(a, b)
    assert found.verdict == "better"
    assert found.low < found.mean_difference < found.high < 0


def test_swapping_the_sides_flips_the_verdict_and_the_interval():
    a, b = _scores([2.0, 2.1, 2.05]), _scores([2.5, 2.62, 2.54])
    there, back = compare_paired(a, b), compare_paired(b, a)
    assert (there.verdict, back.verdict) == ("worse", "better")
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_one_seed_gives_no_verdict():
    found = compare_paired({42: 3.0}, {42: 1.0})
    assert (found.verdict, found.reason) == ("indistinguishable", "one seed")
    assert (found.n, found.low, found.high) == (1, None, None)
    assert found.mean_difference == -2.0


def test_only_common_seeds_are_compared():
    found = compare_paired({0: 2.0, 1: 2.0, 7: 9.0}, {0: 2.0, 1: 2.0, 8: 0.1})
    assert found.seeds == (0, 1)
    assert found.mean_difference == 0.0


def test_no_common_seed_is_refused():
    with pytest.raises(NoPairedSeedsError, match=r"\[42\].*\[137\]"):
        compare_paired({42: 2.0}, {137: 1.0})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused(value):
    with pytest.raises(BadInputError, match="seed 1"):
        compare_paired({0: 2.0, 1: 2.0}, {0: 2.0, 1: value})


def test_identical_scores_are_indistinguishable():
    a = _scores([2.0, 2.1, 2.2])
    found = compare_paired(a, dict(a))
    assert found.verdict == "indistinguishable"
    assert found.low < 0 < found.high


def test_a_constant_difference_below_the_floor_claims_nothing():
    a = {0: 2.0, 1: 2.0}
    b = {0: 2.0 - SMALLEST_DEVIATION_BPB, 1: 2.0 - SMALLEST_DEVIATION_BPB}
    found = compare_paired(a, b)
    assert found.verdict == "indistinguishable"
    assert found.high - found.low > 0


def test_a_constant_difference_far_above_the_floor_is_a_difference():
    found = compare_paired({0: 2.0, 1: 2.0}, {0: 1.5, 1: 1.5})
    assert found.verdict == "better"
    assert found.low < found.high


def test_the_predecessors_speculative_winner_is_indistinguishable():
    # Three seeds of the baseline, and a candidate whose mean lies 1.3 seed deviations away.
    a = _scores([274.8, 279.7, 292.3])
    b = _scores([290.0, 301.0, 291.0])
    assert compare_paired(a, b).verdict == "indistinguishable"
