import math
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from arcfusion.core.errors import ExitCode
from arcfusion.core.training.config import TrainingConfig, TrainingConfigError
from arcfusion.core.training.optimizer import AdamW, UntrainableModelError, is_decayed
from arcfusion.core.training.schedule import learning_rate
from arcfusion.core.training.trainer import BatchShapeError, Trainer

BASE = TrainingConfig(
    steps=8,
    batch_size=4,
    context=6,
    lr_peak=1e-2,
    lr_min=1e-3,
    warmup_steps=2,
    weight_decay=0.1,
    grad_clip=0.5,
    validate_every=4,
    checkpoint_every=2,
    keep_checkpoints=2,
)


class TinyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 16)

    def forward(self, ids):
        self.dtype = (logits := self.head(self.embedding(ids))).dtype
        self.n_rows = len(ids)
        self.n_threads = torch.get_num_threads()
        return logits


def make_batches(batch_size, context):
    def batches(step):
        generator = torch.Generator().manual_seed(step)
        tokens = torch.randint(0, 16, (batch_size, context + 1), generator=generator)
        return tokens[:, :-1], tokens[:, 1:]

    return batches


def observe(config, tmp_path):
    """What can be seen of a training from outside."""
    torch.manual_seed(0)
    model = TinyModel()
    validations, reports = [], []
    outcome = Trainer(
        model,
        config,
        batches=make_batches(config.batch_size, config.context),
        seed=0,
        directory=tmp_path / f"run{len(list(tmp_path.iterdir()))}",
        model_name="tiny",
        validate=validations.append,
        report=reports.append,
    ).run()
    saved = sorted((tmp_path / f"run{len(list(tmp_path.iterdir())) - 1}").rglob("*step*.json"))
    return {
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "validations": validations,
        "saved": [path.name for path in saved],
        "learning_rates": [report.point.learning_rate for report in reports],
        "weights": [p.detach().flatten().tolist() for p in model.parameters()],
        "forward": (model.dtype, model.n_rows, model.n_threads),
    }


CHANGES = {
    "steps": (9, "steps"),
    "batch_size": (8, "tokens"),
    "context": (5, "tokens"),
    "lr_peak": (2e-2, "learning_rates"),
    "lr_min": (2e-3, "learning_rates"),
    "warmup_steps": (4, "learning_rates"),
    "weight_decay": (0.5, "weights"),
    "beta1": (0.5, "weights"),
    "beta2": (0.5, "weights"),
    "grad_clip": (1e-3, "weights"),
    "accumulation": (2, "forward"),
    "precision": ("bf16", "forward"),
    "validate_every": (2, "validations"),
    "checkpoint_every": (3, "saved"),
    "keep_checkpoints": (3, "saved"),
    "threads": (2, "forward"),
}


def test_every_field_has_a_change_below():
    assert set(CHANGES) == {field.name for field in fields(TrainingConfig)}


@pytest.mark.parametrize("name", CHANGES)
def test_changing_a_field_changes_what_it_is_for(name, tmp_path):
    value, effect = CHANGES[name]
    before = observe(BASE, tmp_path)
    after = observe(replace(BASE, **{name: value}), tmp_path)
    assert before[effect] != after[effect]


def test_how_often_a_training_is_looked_at_does_not_change_its_weights(tmp_path):
    before = observe(BASE, tmp_path)
    after = observe(replace(BASE, validate_every=1, checkpoint_every=1), tmp_path)
    assert before["weights"] == after["weights"]


def test_a_config_survives_json_types():
    assert TrainingConfig.from_dict(BASE.to_dict()) == BASE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1.5),
        ("steps", True),
        ("batch_size", -1),
        ("context", "8"),
        ("lr_peak", 0.0),
        ("lr_peak", math.nan),
        ("lr_peak", math.inf),
        ("lr_min", 1.0),
        ("warmup_steps", 9),
        ("beta1", 1.0),
        ("beta2", 1.0),
        ("weight_decay", -0.1),
        ("grad_clip", None),
        ("accumulation", 3),
        ("precision", "fp16"),
        ("keep_checkpoints", 1),
        ("threads", 0),
    ],
)
def test_an_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(TrainingConfigError, match=name) as info:
        TrainingConfig.from_dict({**BASE.to_dict(), name: value})
    assert info.value.exit_code == ExitCode.BAD_INPUT


def test_an_unknown_or_missing_key_is_refused():
    with pytest.raises(TrainingConfigError, match=r"'lr'.*lr_peak"):
        TrainingConfig.from_dict({**BASE.to_dict(), "lr": 1e-3})
    with pytest.raises(TrainingConfigError, match="'steps' is missing"):
        TrainingConfig.from_dict({"batch_size": 1, "context": 1, "lr_peak": 1.0})


def test_the_learning_rate_rises_to_the_peak_and_falls_to_the_minimum():
    config = replace(BASE, steps=10, warmup_steps=4, lr_peak=1.0, lr_min=0.1)
    rates = [learning_rate(step, config) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    # Half-way down the cosine is the mean of peak and minimum.
    assert rates[6] == pytest.approx(0.55)
    assert rates[9] == pytest.approx(0.1)
    assert sorted(rates[3:], reverse=True) == rates[3:]


def test_a_training_that_is_all_warm_up_ends_at_the_peak():
    config = replace(BASE, steps=4, warmup_steps=4)
    assert learning_rate(3, config) == config.lr_peak


def test_without_warm_up_the_first_step_is_below_the_peak():
    config = replace(BASE, steps=4, warmup_steps=0)
    assert config.lr_min < learning_rate(0, config) < config.lr_peak


def test_matrices_are_decayed_and_vectors_norms_and_repeated_vectors_are_not():
    a_log = torch.log(torch.arange(1.0, 5.0)).repeat(6, 1)
    assert is_decayed(nn.Linear(4, 4).weight)
    assert is_decayed(nn.Embedding(8, 4).weight)
    assert is_decayed(nn.Conv1d(4, 4, 3, groups=4).weight)
    assert is_decayed(torch.zeros(4, 4))
    assert is_decayed(torch.eye(4))
    assert not is_decayed(nn.Linear(4, 4).bias)
    assert not is_decayed(nn.LayerNorm(4).weight)
    assert not is_decayed(torch.tensor(1.0))
    assert not is_decayed(a_log)


def test_decay_shrinks_matrices_alone():
    model = TinyModel()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = replace(BASE, weight_decay=0.5, lr_peak=0.1)
    optimizer = AdamW(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(config.lr_peak)
    torch.testing.assert_close(model.head.weight, before["head.weight"] * 0.95)
    assert torch.equal(model.head.bias, before["head.bias"])


class OddModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.complex = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))
        self.transposed = nn.Parameter(torch.randn(4, 5).t())
        self.wide = nn.Parameter(torch.randn(4, dtype=torch.float64))
        self.unused = nn.Parameter(torch.randn(2))


@pytest.mark.filterwarnings("default")
def test_the_update_is_that_of_torch_adamw():
    torch.manual_seed(0)
    ours, theirs = OddModel(), OddModel()
    theirs.load_state_dict(ours.state_dict())
    optimizer = AdamW(ours, BASE)
    reference = torch.optim.AdamW(
        [
            {"params": [theirs.transposed, theirs.complex], "weight_decay": BASE.weight_decay},
            {"params": [theirs.wide, theirs.unused], "weight_decay": 0.0},
        ],
        lr=1e-2,
        betas=(BASE.beta1, BASE.beta2),
        foreach=False,
    )
    for _ in range(5):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            if a is not ours.unused:
                a.grad = torch.randn_like(a)
                b.grad = a.grad.clone()
        optimizer.step(1e-2)
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert not any("unused" in name for name in optimizer.tensors())


def test_a_model_without_trainable_parameters_is_refused():
    model = TinyModel().requires_grad_(False)
    with pytest.raises(UntrainableModelError):
        AdamW(model, BASE)


def test_batches_of_another_shape_are_refused():
    batches = make_batches(BASE.batch_size, BASE.context + 1)
    trainer = Trainer(TinyModel(), BASE, batches=batches, seed=0, directory=None, model_name="tiny")
    with pytest.raises(BatchShapeError, match=r"\(4, 7\).*\(4, 6\)"):
        trainer.run()
