import math
import time

import pytest
import torch
from torch import nn

from arcfusion.experiments.gates import (
    GATES,
    GateReport,
    GateReportError,
    GateResult,
    Outcome,
    UnknownGateError,
    load_gate,
    parse_report,
    run_gates,
)
from arcfusion.experiments.gates.entropy import judge
from arcfusion.experiments.gates.planted import (
    DEFECTIVE,
    PLANTED,
    SoundMixer,
    SoundModel,
    build_sound,
)
from arcfusion.experiments.gates.subject import Subject

NAMED = {
    "mask_flipped",
    "mask_after_softmax",
    "symmetric_convolution",
    "bidirectional_scan",
    "mean_over_time",
    "train_only_leak",
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def result_of(report: GateReport, name: str) -> GateResult:
    return next(r for r in report.results if r.name == name)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_fails_the_causality_gate(name):
    report = run_gates(PLANTED[name](64, 32), vocab_size=64, only=("causality",))
    result = result_of(report, "causality")
    assert result.outcome is Outcome.FAIL
    assert result.figure is not None
    assert result.limit is not None
    assert result.figure > 100 * result.limit or name == "target_peek"
    assert report.verdict is Outcome.FAIL


def test_the_leaks_of_the_acceptance_table_are_all_planted():
    assert set(PLANTED) >= NAMED


@pytest.mark.parametrize("name", GATES)
def test_each_gate_has_a_planted_defect_that_it_fails_and_nothing_else_does(name):
    if name == "causality":
        return  # its defects are the planted leaks
    report = run_gates(DEFECTIVE[name](64, 32), vocab_size=64)
    failed = {r.name for r in report.results if r.outcome is Outcome.FAIL}
    assert failed == {name}
    assert report.verdict is Outcome.FAIL


def test_a_sound_model_passes_every_gate_that_can_judge_it_within_two_seconds():
    model = build_sound(256, 64)
    start = time.process_time()
    report = run_gates(model)
    assert time.process_time() - start < 2
    assert report.verdict is Outcome.PASS
    assert {r.name: str(r.outcome) for r in report.results} == {
        "forward": "pass",
        "entropy": "pass",
        "causality": "pass",
        "step_parity": "unavailable",
        "gradient_flow": "pass",
    }


def test_the_callers_model_mode_and_generator_stay_as_they_were():
    model = PLANTED["batch_norm_over_time"](64, 32)
    model.train()
    model.mixers[0].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    generator = torch.get_rng_state()
    run_gates(model, vocab_size=64)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None for p in model.parameters())


def test_the_same_model_and_seed_give_the_same_report():
    model = build_sound(64, 32)
    assert run_gates(model, seed=3) == run_gates(model, seed=3)


class Dropping(SoundMixer):
    def forward(self, x_BTD):
        return nn.functional.dropout(super().forward(x_BTD), 0.3, self.training)


class CountingMixer(SoundMixer):
    """Running statistics that train mode uses and updates, as a codebook does."""

    def __init__(self, d_model):
        super().__init__(d_model)
        self.register_buffer("scale_seen", torch.ones(d_model))

    def forward(self, x_BTD):
        y_BTD = super().forward(x_BTD) * self.scale_seen.clone()
        if self.training:
            self.scale_seen.mul_(0.9).add_(0.1 * x_BTD.detach().abs().mean((0, 1)))
        return y_BTD


class SinglePrecisionNorm(SoundMixer):
    def forward(self, x_BTD):
        single = x_BTD.float()
        normed = single * torch.rsqrt(single.square().mean(-1, keepdim=True) + 1e-5)
        return super().forward(normed.to(x_BTD.dtype))


@pytest.mark.parametrize("mixer", [Dropping, CountingMixer, SinglePrecisionNorm])
def test_dropout_running_statistics_and_single_precision_raise_no_alarm(mixer):
    report = run_gates(SoundModel(64, 32, mixer), vocab_size=64)
    assert report.verdict is Outcome.PASS, report


def test_a_position_table_that_ends_before_129_raises_no_alarm():
    class Placed(SoundModel):
        def __init__(self):
            super().__init__(64, 32, SoundMixer)
            self.place = nn.Parameter(0.02 * torch.randn(65, 32))

        def hidden(self, ids_BT):
            x_BTD = self.embed(ids_BT) + self.place[: ids_BT.shape[1]]
            return self.norms[-1](x_BTD + self.mixers[0](x_BTD))

    model = Placed()
    del model.channels, model.mixers[1], model.norms[:-1]
    assert run_gates(model, vocab_size=64).verdict is Outcome.PASS


def test_nan_logits_fail_and_the_other_gates_do_not_pretend_to_have_run():
    model = build_sound(64, 32)
    with torch.no_grad():
        model.embed.weight[3] = math.nan
    report = run_gates(model, vocab_size=64)
    assert report.verdict is Outcome.FAIL
    assert [str(r.outcome) for r in report.results] == ["fail"] + ["unavailable"] * 4
    causality = run_gates(model, vocab_size=64, only=("causality",)).results[0]
    assert causality.outcome is Outcome.FAIL


def test_a_forward_that_raises_is_a_result_with_its_message():
    class Broken(nn.Module):
        def forward(self, ids_BT):
            raise ZeroDivisionError("no such luck")

    report = run_gates(Broken())
    assert report.verdict is Outcome.FAIL
    assert "ZeroDivisionError: no such luck" in report.results[0].detail


def test_an_unavailable_mandatory_gate_is_no_pass_and_an_optional_one_may_be_missing():
    def result(name, outcome):
        return GateResult(name=name, outcome=outcome, figure=None, unit="", limit=None, detail="")

    passed = result("forward", Outcome.PASS)
    missing = result("step_parity", Outcome.UNAVAILABLE)
    assert GateReport((passed, missing)).verdict is Outcome.UNAVAILABLE
    assert GateReport((passed, missing), frozenset({"step_parity"})).verdict is Outcome.PASS
    assert GateReport((missing,), frozenset({"step_parity"})).verdict is Outcome.UNAVAILABLE
    assert GateReport(()).verdict is Outcome.UNAVAILABLE
    warned = result("entropy", Outcome.WARN)
    assert GateReport((passed, warned)).verdict is Outcome.WARN


def test_one_token_can_not_show_causality():
    class Constant(nn.Module):
        def forward(self, ids_BT):
            return torch.zeros(*ids_BT.shape, 1)

    result = load_gate("causality")(Subject(Constant(), 1, 0))
    assert result.outcome is Outcome.UNAVAILABLE


@pytest.mark.parametrize(
    ("deviation", "entropy_ratio", "peak", "outcome"),
    [
        (0.0, 1.0, 0.01, "pass"),
        (0.02, 0.95, 0.2, "pass"),
        (-0.02, 0.95, 0.2, "pass"),
        (0.0201, 1.0, 0.01, "warn"),
        (-0.0201, 1.0, 0.01, "warn"),
        (0.1001, 1.0, 0.01, "fail"),
        (-0.1001, 1.0, 0.01, "fail"),
        (0.0, 0.9499, 0.01, "warn"),
        (0.0, 0.8999, 0.01, "fail"),
        (0.0, 1.0, 0.2001, "warn"),
        (0.0, 1.0, 0.5001, "fail"),
    ],
)
def test_the_entropy_bands_are_two_sided_and_have_no_gap(deviation, entropy_ratio, peak, outcome):
    assert judge(deviation, entropy_ratio, peak, 256) == outcome


def test_the_predecessors_figures_saturated_fails_and_tiny_embeddings_pass():
    saturated = SoundModel(16_000, 144, SoundMixer)
    nn.init.normal_(saturated.embed.weight, std=1.0)
    tiny = SoundModel(16_000, 144, SoundMixer)
    nn.init.uniform_(tiny.embed.weight, -1e-4, 1e-4)
    for model, outcome in ((saturated, Outcome.FAIL), (tiny, Outcome.PASS)):
        assert run_gates(model, only=("entropy",)).results[0].outcome is outcome


def test_a_report_survives_json_and_a_forged_one_is_refused():
    report = run_gates(build_sound(64, 32), vocab_size=64, only=("forward", "entropy"))
    names, optional = ("forward", "entropy"), report.optional
    text = report.to_json()
    assert parse_report(text, names=names, optional=optional) == report
    forged = [
        "",
        "{}",
        "[]",
        "[1, 2]",
        text.replace('"pass"', '"splendid"'),
        text.replace('"limit": 0.0', '"limit": NaN'),
        text.replace('"limit": 0.0', '"limit": true'),
        text.replace('"unit"', '"units"'),
        text.replace('"name": "entropy"', '"name": "forward"'),
    ]
    for bad in forged:
        with pytest.raises(GateReportError):
            parse_report(bad, names=names, optional=optional)


def test_an_unknown_gate_is_refused_with_the_known_ones():
    with pytest.raises(UnknownGateError, match=r"no gate 'caution'.*causality"):
        run_gates(build_sound(64, 32), only=("caution",))
