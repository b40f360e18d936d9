import math
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from arcfusion.core.training.config import TrainingConfig
from arcfusion.core.training.curve import read_curve
from arcfusion.core.training.optimizer import is_decayed
from arcfusion.core.training.schedule import learning_rate
from arcfusion.core.training.trainer import Trainer

CONFIG = TrainingConfig(
    steps=12, batch_size=4, context=8, lr_peak=1e-2, warmup_steps=2, validate_every=5
)


class TinyModel(nn.Module):
    """Dropout draws from the generator and batch norm keeps buffers: both must be exact."""

    def __init__(self, dropout=0.2):
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 16)

    def forward(self, ids):
        x = self.norm(self.embedding(ids).flatten(0, 1)).unflatten(0, ids.shape)
        return self.head(self.dropout(x))


def batches(step):
    generator = torch.Generator().manual_seed(step)
    start = torch.randint(0, 16, (4, 1), generator=generator)
    tokens = (start + torch.arange(9)) % 16
    return tokens[:, :-1], tokens[:, 1:]


def build(**options):
    torch.manual_seed(0)
    return TinyModel(**options)


def trainer(model, config=CONFIG, directory=None, **options):
    options = {"batches": batches, "seed": 1, "model_name": "tiny", **options}
    return Trainer(model, config, directory=directory, **options)


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.fixture(autouse=True)
def one_thread():
    # The fused update of two threads is cut in other places than that of one.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_training_is_bit_for_bit_the_plain_loop_over_the_same_batches():
    model, plain = build(), build()
    decayed = [p for p in plain.parameters() if is_decayed(p)]
    others = [p for p in plain.parameters() if not is_decayed(p)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    torch.manual_seed(1)
    for step in range(CONFIG.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, CONFIG)
        x, y = batches(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(x).flatten(0, 1), y.flatten()).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), CONFIG.grad_clip)
        optimizer.step()
    outcome = trainer(model).run()
    assert torch.equal(weights(model), weights(plain))
    assert outcome.status == "completed"
    assert outcome.reason is None
    assert outcome.steps == 12
    assert outcome.tokens == 12 * 32
    assert outcome.tokens_per_s > 0


def test_training_learns_the_next_token():
    model = build(dropout=0.0)
    outcome = trainer(model, replace(CONFIG, steps=150, lr_peak=5e-2)).run()
    assert outcome.final_train_loss < 0.2 < math.log(16)


def test_two_half_batches_are_one_whole_batch():
    class NoStatistics(TinyModel):
        def forward(self, ids):
            return self.head(self.embedding(ids))

    results = []
    for accumulation in (1, 2, 4):
        torch.manual_seed(0)
        model = NoStatistics()
        trainer(model, replace(CONFIG, accumulation=accumulation)).run()
        results.append(weights(model))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-6)


def test_the_curve_has_every_step_and_the_validations_that_were_due(tmp_path):
    losses = {5: 2.5, 10: 2.0, 12: 1.5}
    seen = []

    def validate(step):
        seen.append(step)
        return losses[step]

    reports = []
    trainer(build(), directory=tmp_path, validate=validate, report=reports.append).run()
    curve = read_curve(tmp_path / "curve.jsonl")
    assert seen == [5, 10, 12]
    assert [point.step for point in curve] == list(range(1, 13))
    assert {p.step: p.val_loss for p in curve if p.val_loss is not None} == losses
    assert curve == [report.point for report in reports]
    assert reports[-1].tokens == 12 * 32
    assert 0 < reports[0].train_seconds < reports[-1].train_seconds


def test_validation_is_in_eval_mode_without_gradients_and_leaves_no_trace():
    def validate(step):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(step)
        model.norm.running_mean.add_(1.0)

    model, untouched = build(), build()
    trainer(model, validate=validate).run()
    trainer(untouched).run()
    assert torch.equal(weights(model), weights(untouched))


def test_validation_and_checkpoints_are_not_in_the_training_time(tmp_path):
    def validate(step):
        time.sleep(0.4)

    outcome = trainer(build(), directory=tmp_path, validate=validate).run()
    assert outcome.train_seconds < 0.8


def test_a_callers_clock_is_stopped_for_every_validation():
    class Clock:
        seconds = 1.5

        def __init__(self):
            self.calls = []

        def start(self):
            self.calls.append("start")

        def stop(self):
            self.calls.append("stop")

    clock = Clock()
    outcome = trainer(
        build(), clock=clock, validate=lambda step: clock.calls.append("validate")
    ).run()
    assert clock.calls == ["start", *["stop", "validate", "start"] * 3, "stop"]
    assert outcome.train_seconds == 1.5


class Poisoned(TinyModel):
    """Breaks in one forward pass in training mode; the warm-up pass is the first of them."""

    def __init__(self, kind, step):
        super().__init__(dropout=0.0)
        self.kind, self.countdown = kind, step + 1

    def forward(self, ids):
        logits = super().forward(ids)
        self.countdown -= 1
        if self.countdown == 0:
            match self.kind:
                case "loss":
                    logits = logits * math.nan
                case "gradient":
                    logits.register_hook(lambda gradient: gradient * math.inf)
                case "huge":
                    logits = logits * 1e4
        return logits


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("loss", "the loss of step 7 is nan"),
        ("gradient", "the gradient norm of step 7 is nan"),
        ("huge", "3 times the first"),
    ],
)
def test_a_broken_step_is_refused_before_the_weights_change(tmp_path, kind, reason):
    torch.manual_seed(0)
    model = Poisoned(kind, step=7)
    saved = {}

    def keep(report):
        saved.update({name: p.detach().clone() for name, p in model.named_parameters()})

    outcome = trainer(model, directory=tmp_path, report=keep).run()
    assert outcome.status == "diverged"
    assert reason in outcome.reason
    assert outcome.steps == 6
    assert all(torch.equal(saved[name], p) for name, p in model.named_parameters())
    assert not list(tmp_path.rglob("*final*"))
    assert read_curve(tmp_path / "curve.jsonl")[-1].step == 6


def test_weights_that_are_not_finite_at_the_end_are_a_divergence(tmp_path):
    outcome = trainer(
        build(), replace(CONFIG, steps=1, warmup_steps=0, lr_peak=1e39, lr_min=1e39), tmp_path
    ).run()
    assert outcome.status == "diverged"
    assert "weights after the last step" in outcome.reason
    assert not list(tmp_path.rglob("*final*"))


def test_a_weight_that_is_not_finite_stops_the_next_step():
    model = build()

    def poison(report):
        if report.point.step == 3:
            with torch.no_grad():
                model.head.weight[0, 0] = math.inf

    outcome = trainer(model, report=poison).run()
    assert (outcome.status, outcome.steps) == ("diverged", 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_the_rest_is_bit_identical(tmp_path, number):
    def interrupt(report):
        if report.point.step == 7:
            os.kill(os.getpid(), number)

    whole, model, resumed = build(), build(), build()
    trainer(whole).run()
    before = signal.getsignal(number)
    outcome = trainer(model, directory=tmp_path, report=interrupt).run()
    assert (outcome.status, outcome.steps) == ("interrupted", 7)
    assert number.name in outcome.reason
    assert signal.getsignal(number) is before
    with torch.no_grad():
        resumed.head.weight.zero_()
    outcome = trainer(resumed, directory=tmp_path).run()
    assert (outcome.status, outcome.steps, outcome.resumed_step) == ("completed", 12, 7)
    assert torch.equal(weights(resumed), weights(whole))
    assert [p.step for p in read_curve(tmp_path / "curve.jsonl")] == list(range(1, 13))


def test_a_second_ctrl_c_does_not_wait_for_the_step():
    def interrupt(report):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer(build(), report=interrupt).run()


def test_a_caller_can_stop_a_training_in_any_thread(tmp_path):
    outcomes = []

    def train():
        one = trainer(
            build(), directory=tmp_path, report=lambda report: one.stop("cancelled by its owner")
        )
        outcomes.append(one.run())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert outcomes[0].status == "interrupted"
    assert outcomes[0].reason == "cancelled by its owner"
    assert outcomes[0].steps == 1


def test_threads_and_determinism_of_the_process_are_put_back():
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    trainer(build(), replace(CONFIG, steps=2, threads=before[0] + 1)).run()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_bf16_runs_the_forward_pass_alone_in_half_precision():
    class Watching(TinyModel):
        def forward(self, ids):
            logits = self.head(self.embedding(ids))
            dtypes.add(logits.dtype)
            return logits

    dtypes = set()
    torch.manual_seed(0)
    model = Watching()
    outcome = trainer(model, replace(CONFIG, precision="bf16")).run()
    assert dtypes == {torch.bfloat16}
    assert outcome.status == "completed"
    assert {p.dtype for p in model.parameters()} == {torch.float32}
