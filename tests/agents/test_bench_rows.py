import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version

import pytest

from arcfusion.agents.bench import identity, noise, overhead, record, scan
from arcfusion.agents.bench.thread import one_thread
from arcfusion.core.codegen import generate
from arcfusion.core.identity import fingerprint
from arcfusion.core.model import LanguageModel
from arcfusion.core.spec import ArchSpec
from arcfusion.core.training.config import TrainingConfig
from arcfusion.experiments.compare import compare_paired

CONFIG = TrainingConfig(steps=4, batch_size=2, context=8, lr_peak=1e-3, warmup_steps=1)


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def test_a_bar_is_kept_up_to_and_including_its_own_value():
    assert record.at_most("seconds", 240, 240, "s").holds
    assert not record.at_most("seconds", 240.1, 240, "s").holds
    assert record.at_least("found", 6, 6, "leaks").holds
    assert not record.at_least("found", 5, 6, "leaks").holds


def test_a_figure_that_is_not_a_number_keeps_no_bar():
    assert not record.at_most("error", math.nan, 1e-5, "").holds
    assert not record.at_least("ratio", math.nan, 0.95, "x").holds


def test_what_could_not_be_measured_does_not_hold_and_says_why():
    row = record.unmeasured("ratio", "x", ">= 1", "no second core")
    assert row.value is None
    assert not row.holds
    assert "no second core" in row.detail


def test_a_row_and_the_machine_are_json():
    row = record.at_most("seconds", 1.5, 2, "s", "n=3")
    assert json.loads(json.dumps(row.as_dict())) == {
        "name": "seconds", "value": 1.5, "unit": "s", "bar": "<= 2", "holds": True, "detail": "n=3",
    }  # fmt: skip
    machine = json.loads(json.dumps(record.describe_machine()))
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert machine["torch"] == version("torch")


def test_spread_names_the_number_of_values_and_their_extremes():
    assert record.spread([3.0, 1.0, 2.0]) == "n=3 median=2 min=1 max=3"


def test_the_chunked_scan_keeps_its_bars():
    rows = list(scan.measure(True))
    assert [row.name.split(",")[0] for row in rows] == ["scan"] * 4
    # The last row is a timing: on a busy machine only its figure is certain.
    assert all(row.holds for row in rows[:3]), rows
    assert rows[3].value > 0


def test_a_scan_that_returns_nan_anywhere_is_not_passed_over():
    assert scan.largest([1e-7, math.nan, 1e-8]) == math.inf
    assert scan.largest([math.nan, 1e-7]) == math.inf


def test_a_wrong_scan_is_seen(monkeypatch):
    from arcfusion.kernels.scan import chunked, reference

    def inexact(*arguments, **options):
        y, state = reference.selective_scan_reference(*arguments, **options)
        return y * 1.001, state

    monkeypatch.setattr(chunked, "selective_scan_chunked", inexact)
    monkeypatch.setattr(scan, "LENGTHS", (1, 2, 3))
    assert [row.holds for row in scan.measure(True)][:3] == [False, False, False]


def test_trainer_and_bare_loop_end_with_the_same_loss():
    (row,) = overhead.measure(True)
    assert row.value is not None, row.detail
    assert row.value > 0
    assert "last losses differ by 0" in row.detail


def test_loops_that_did_other_work_are_not_compared():
    pair = (overhead.Timed(1.0, 5.0), overhead.Timed(0.5, 5.1))
    row = overhead.judge([pair], CONFIG)
    assert row.value is None
    assert not row.holds
    assert "0.1 nats" in row.detail


def test_a_trainer_that_takes_longer_than_the_bare_loop_fails_the_bar():
    slow = [(overhead.Timed(0.9, 5.0), overhead.Timed(1.0, 5.0))] * 3
    fast = [(overhead.Timed(0.96, 5.0), overhead.Timed(1.0, 5.0))] * 3
    assert not overhead.judge(slow, CONFIG).holds
    assert overhead.judge(fast, CONFIG).holds


def test_noise_is_not_called_better_and_a_planted_difference_is():
    null, planted = noise.measure(True)
    assert null.holds, null
    assert planted.holds, planted
    assert (null.name, planted.name) == (
        "A/A comparisons called better, of 4", "planted differences found, of 1",
    )  # fmt: skip


@pytest.fixture
def job(tmp_path):
    spec = ArchSpec.preset("mha").with_size(d_model=16, n_layers=1)
    return noise.Job(spec=spec, training=CONFIG, seed=0, data_directory=tmp_path)


def test_no_seed_is_used_twice_in_the_a_a_comparisons(job):
    sides = noise.plan_null(job, noise.FULL)
    assert len(sides) == 40
    jobs = [one for side in sides for one in (*side.baseline, *side.candidate)]
    assert len({one.seed for one in jobs}) == len(jobs) == 40 * 2 * 4
    assert {replace(one, seed=0) for one in jobs} == {job}


def test_a_planted_comparison_differs_in_the_steps_alone(job):
    sides = noise.plan_planted(job, noise.FULL)
    assert len(sides) == 5
    for side in sides:
        for short, whole in zip(side.baseline, side.candidate, strict=True):
            assert short.training.steps == 2
            assert replace(short, training=whole.training) == whole
    seeds = [one.seed for side in sides for one in side.candidate]
    assert len(set(seeds)) == len(seeds)


def test_each_score_goes_to_its_own_side(job, monkeypatch):
    monkeypatch.setattr(noise, "train_and_score", lambda one: one.seed + one.training.steps / 10)
    sides = noise.plan_planted(job, noise.QUICK)
    with ThreadPoolExecutor(2) as pool:
        (comparison,) = noise.compare_all(pool, sides)
    # The whole training has 4 steps, the half 2: it scores higher, and so is worse.
    assert comparison.mean_difference == pytest.approx(0.2)
    assert comparison.verdict == "worse"


def test_too_many_better_verdicts_and_a_missed_difference_fail_their_bars():
    better = compare_paired({1: 2.0, 2: 2.0, 3: 2.0}, {1: 1.0, 2: 1.0, 3: 1.0})
    same = compare_paired({1: 2.0, 2: 1.9, 3: 2.1}, {1: 2.1, 2: 1.8, 3: 2.1})
    extent = replace(noise.FULL, allowed=2)
    assert noise.judge_null([better, better, same], extent, CONFIG).holds
    assert not noise.judge_null([better, better, better], extent, CONFIG).holds
    assert noise.judge_planted([better, better], CONFIG).holds
    assert not noise.judge_planted([better, same], CONFIG).holds


def test_equal_nets_share_a_fingerprint_and_changed_ones_do_not():
    rows = list(identity.measure(True))
    assert [(row.value, row.holds) for row in rows] == [(12, True), (12, True)], rows


def test_a_pair_on_the_wrong_side_is_counted_and_named():
    specs = [ArchSpec.preset("mha").with_size(d_model=16, n_layers=1)]
    kinds = {"renamed": identity.rename, "norm": identity.CHANGED_KINDS["norm"]}
    judged = list(identity.judge_pairs(kinds, specs, 3))
    assert [one.is_equal for one in judged] == [True, False, True]
    equal = identity.count("equal", judged, expected=True)
    assert (equal.value, equal.holds) == (2, False)
    assert "{'norm': 1}" in equal.detail
    changed = identity.count("changed", judged, expected=False)
    assert (changed.value, changed.holds) == (1, False)
    assert "{'renamed': 2}" in changed.detail


def test_the_rewritten_file_shares_no_name_with_the_generated_one():
    spec = ArchSpec.preset("hybrid").with_size(d_model=32, n_layers=4)
    source = generate(spec)
    twin = identity.load_generated(identity.rename_in_source(source)).build()
    before = [name for name, _ in twin.named_parameters()]
    identity.reverse_registration(twin)
    after = [name for name, _ in twin.named_parameters()]
    assert sorted(before) == sorted(after)
    assert before != after
    model = LanguageModel(spec, seed=0)
    assert not {name for name, _ in model.named_parameters()} & set(after)
    assert fingerprint(model) == fingerprint(twin)
