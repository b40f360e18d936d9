import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc, stdtrit

from arcfusion.core.errors import BadInputError
from arcfusion.experiments.student import (
    central_probability,
    compute_interval,
    two_sided_quantile,
)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 29, 30, 101, 500])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_the_quantile_is_scipys(degrees, confidence):
    expected = stdtrit(degrees, 0.5 + confidence / 2)
    assert two_sided_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(t=st.floats(0.0, 200.0), degrees=st.integers(1, 60))
def test_the_central_probability_is_an_incomplete_beta_function(t, degrees):
    # Not 2 * stdtr - 1, which is off by 3e-11 at t = 1e-6.
    expected = betainc(0.5, degrees / 2, t * t / (degrees + t * t))
    assert central_probability(t, degrees) == pytest.approx(expected, abs=1e-12)


def test_an_interval_of_three_values_is_the_textbook_one():
    interval = compute_interval([1.0, 2.0, 3.0], confidence=0.95)
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(4.30265272991 / math.sqrt(3))


def test_one_value_has_a_mean_and_no_interval():
    interval = compute_interval([1.5])
    assert (interval.n, interval.mean, interval.low, interval.high) == (1, 1.5, None, None)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_what_was_not_measured_is_not_averaged(values):
    with pytest.raises(BadInputError):
        compute_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, math.nan])
def test_a_confidence_outside_zero_to_one_is_refused(confidence):
    with pytest.raises(BadInputError, match="confidence"):
        compute_interval([1.0], confidence=confidence)
