import math

import numpy as np
import pytest
import torch

from arcfusion.core.metric import (
    METRICS,
    InvalidLogitsError,
    bits_per_byte,
    cross_entropy_numpy,
    efficiency,
    perplexity,
)


def test_the_evaluator_agrees_with_torch_in_float64():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 8, (5, 7, 11)).astype(np.float32)
    targets = generator.integers(0, 11, (5, 7))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double().reshape(-1, 11),
        torch.from_numpy(targets).reshape(-1),
        reduction="none",
    )
    sums = cross_entropy_numpy(logits, targets)
    assert sums.dtype == np.float64
    np.testing.assert_allclose(sums, expected.reshape(5, 7).sum(1).numpy(), rtol=1e-12)


def test_huge_logits_neither_overflow_nor_vanish():
    logits = np.array([[[1e4, 0.0, -1e4]]], dtype=np.float32)
    assert cross_entropy_numpy(logits, np.array([[0]]))[0] == 0.0
    assert cross_entropy_numpy(logits, np.array([[2]]))[0] == 2e4


def test_masked_positions_count_nothing_whatever_their_logits_are():
    logits = np.zeros((1, 3, 4))
    logits[0, 2] = np.nan
    mask = np.array([[True, True, False]])
    sums = cross_entropy_numpy(logits, np.zeros((1, 3), np.int64), mask)
    assert sums[0] == pytest.approx(2 * math.log(4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    logits = np.zeros((1, 1, 4))
    logits[0, 0, 1] = bad
    with pytest.raises(InvalidLogitsError, match="finite"):
        cross_entropy_numpy(logits, np.zeros((1, 1), np.int64))


def test_logits_of_another_shape_are_refused():
    with pytest.raises(InvalidLogitsError, match=r"\(2, 3, 4\)"):
        cross_entropy_numpy(np.zeros((2, 3, 4)), np.zeros((2, 2), np.int64))


def test_a_uniform_model_over_bytes_needs_eight_bits_per_byte():
    nats = cross_entropy_numpy(np.zeros((2, 10, 256)), np.ones((2, 10), np.int64)).sum()
    assert bits_per_byte(nats, 20) == pytest.approx(8.0)
    assert perplexity(nats / 20) == pytest.approx(256.0)


def test_a_perplexity_beyond_a_float_is_infinite():
    assert perplexity(1e4) == math.inf


def test_efficiency_is_the_perplexity_at_five_minutes_and_twice_it_at_twenty():
    assert efficiency(10.0, 300.0) == 10.0
    assert efficiency(10.0, 1_200.0) == 20.0


def test_every_metric_has_a_unit_and_a_definition():
    assert all(name == m.name and m.unit and m.definition for name, m in METRICS.items())
    assert METRICS["bits_per_byte"].better == "lower"
    assert METRICS["tokens_per_s"].better == "higher"
