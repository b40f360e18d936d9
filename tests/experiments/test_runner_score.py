"""The trusted score and the trusted causality check, against models made of numpy."""

import math

import numpy as np
import pytest

from arcfusion.core.data.dataset import ValidationWindows
from arcfusion.core.metric import InvalidLogitsError
from arcfusion.experiments.runner.causality import check_causality, choose_windows
from arcfusion.experiments.runner.evaluator import score_windows, windows_per_message

VOCAB, CONTEXT, WINDOWS = 64, 16, 40


@pytest.fixture
def windows():
    generator = np.random.default_rng(0)
    text = generator.integers(0, VOCAB, size=WINDOWS * CONTEXT + 1)
    # every window begins with its own token, so that it can be recognised by it
    text[:-1:CONTEXT] = np.arange(WINDOWS)
    mask = np.ones((WINDOWS, CONTEXT), bool)
    mask[-1, 5:] = False
    return ValidationWindows(
        text[:-1].reshape(WINDOWS, CONTEXT),
        text[1:].reshape(WINDOWS, CONTEXT),
        mask,
        int(mask.sum()),
    )


class Causal:
    """Logits from the running sum of what was seen."""

    table = np.random.default_rng(1).normal(size=(97, VOCAB)).astype(np.float32)

    def __call__(self, ids):
        return self.table[np.cumsum(ids, axis=1) % 97]


class Peeking(Causal):
    def __call__(self, ids):
        logits = super().__call__(ids).copy()
        np.put_along_axis(logits[:, :-1], ids[:, 1:, None], 9.0, axis=2)
        return logits


class Mixing(Causal):
    def __call__(self, ids):
        logits = super().__call__(ids)
        return logits + logits.mean(axis=0, keepdims=True)


class Counting(Causal):
    """Gets better with every call: it depends on more than its input."""

    calls = 0

    def __call__(self, ids):
        self.calls += 1
        return super().__call__(ids) * np.float32(1 + self.calls)


class Remembering(Peeking):
    """Looks ahead, and repeats what it said for windows that it has seen whole."""

    def __init__(self):
        self.seen = {}

    def __call__(self, ids):
        logits = super().__call__(ids)
        for row, line in zip(ids, logits, strict=True):
            known = self.seen.get(row[0])
            if known is None:
                self.seen[row[0]] = line
            else:
                line[:] = known[: len(line)]
        return logits


def score(serve, windows, seed=0):
    order = np.random.default_rng(seed).permutation(WINDOWS)
    keep = choose_windows(WINDOWS, CONTEXT, VOCAB, np.random.default_rng(seed + 1))
    return score_windows(serve, windows, order_N=order, vocab_size=VOCAB, keep=keep)


def check(serve, windows, kept):
    return check_causality(
        serve, windows.inputs, kept, vocab_size=VOCAB, generator=np.random.default_rng(5)
    )


def test_chance_scores_the_logarithm_of_the_vocabulary(windows):
    result = score(lambda ids: np.zeros((*ids.shape, VOCAB), np.float32), windows)
    assert result.loss_nats == pytest.approx(math.log(VOCAB))
    assert result.bits_per_byte == pytest.approx(math.log2(VOCAB))
    assert result.perplexity == pytest.approx(VOCAB)


def test_every_counted_target_is_scored_once_in_any_order(windows, monkeypatch):
    monkeypatch.setattr("arcfusion.experiments.runner.evaluator.windows_per_message", lambda *_: 7)
    model = Causal()
    logits = model(windows.inputs).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    chosen = np.take_along_axis(log_p, windows.targets[..., None], axis=2)[..., 0]
    expected = -chosen[windows.mask].mean()
    for seed in range(3):
        assert score(model, windows, seed).loss_nats == pytest.approx(expected, rel=1e-12)


def test_a_message_of_logits_stays_small():
    assert windows_per_message(128, 256) * 128 * 256 * 4 <= 16 << 20
    assert windows_per_message(100_000, 50_000) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_logit_that_is_not_finite_invalidates_the_score(windows, bad):
    def serve(ids):
        logits = np.zeros((*ids.shape, VOCAB), np.float32)
        logits[-1, 0, 3] = bad
        return logits

    with pytest.raises(InvalidLogitsError):
        score(serve, windows)


def test_a_causal_model_passes(windows):
    report = check(Causal(), windows, score(Causal(), windows).kept)
    assert report.find_problem() is None
    assert report.windows == 12
    assert report.future_gap == report.repeat_gap == 0.0


@pytest.mark.parametrize("cheat", [Peeking, Remembering])
def test_a_model_that_looked_ahead_can_not_repeat_its_logits(windows, cheat):
    report = check(cheat(), windows, score(cheat(), windows).kept)
    assert report.find_problem() is not None
    assert report.future_gap > 0.1


def test_a_check_in_the_same_process_would_miss_a_model_that_remembers(windows):
    # why the check gets a process of its own
    cheat = Remembering()
    kept = score(cheat, windows).kept
    assert check(cheat, windows, kept).find_problem() is None


@pytest.mark.parametrize("model", [Mixing, Counting])
def test_logits_that_depend_on_batch_or_history_are_found(windows, model):
    report = check(model(), windows, score(model(), windows).kept)
    assert "more than the window" in report.find_problem()


def test_windows_of_one_token_can_be_checked():
    inputs = np.arange(6).reshape(6, 1)
    model = Causal()
    kept = {n: model(inputs)[n] for n in range(6)}
    report = check_causality(
        model, inputs, kept, vocab_size=VOCAB, generator=np.random.default_rng(0)
    )
    assert report.find_problem() is None
