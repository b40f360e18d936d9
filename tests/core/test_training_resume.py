import json
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from arcfusion.core.training.checkpoint import list_steps, load_checkpoint
from arcfusion.core.training.config import TrainingConfig
from arcfusion.core.training.curve import read_curve
from arcfusion.core.training.resume import ForeignCheckpointError
from arcfusion.core.training.trainer import Trainer

CONFIG = TrainingConfig(steps=10, batch_size=2, context=4, lr_peak=1e-2, checkpoint_every=2)


class NoisyModel(nn.Module):
    """Draws from every generator that a checkpoint must hold, and keeps a volatile buffer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 4)
        self.head = nn.Linear(4, 8)
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, ids):
        noise = torch.rand(()) + random.random() + np.random.rand()
        self.calls.add_(1.0)
        return self.head(self.embedding(ids)) * (1 + 0.1 * noise + 0.01 * self.calls)


def batches(step):
    tokens = torch.randint(0, 8, (2, 5), generator=torch.Generator().manual_seed(step))
    return tokens[:, :-1], tokens[:, 1:]


def train(directory, stop_at=None, config=CONFIG, seed=5):
    torch.manual_seed(0)
    model = NoisyModel()

    def report(step_report):
        if step_report.point.step == stop_at:
            trainer.stop("test")

    trainer = Trainer(
        model,
        config,
        batches=batches,
        seed=seed,
        directory=directory,
        model_name="n",
        report=report,
    )
    outcome = trainer.run()
    return outcome, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("stop_at", range(1, 10))
def test_a_training_stopped_at_any_step_ends_with_the_same_bits(tmp_path, stop_at):
    _, expected = train(None)
    assert train(tmp_path, stop_at)[0].status == "interrupted"
    # Whatever the process drew in between is of no account.
    torch.rand(7), random.random(), np.random.rand()
    outcome, weights = train(tmp_path)
    assert outcome.resumed_step == stop_at
    assert torch.equal(weights, expected)


def test_the_training_time_of_both_processes_is_counted(tmp_path):
    first, _ = train(tmp_path, stop_at=5)
    second, _ = train(tmp_path)
    assert second.train_seconds > first.train_seconds > 0


def test_the_step_checkpoints_are_pruned_and_the_final_one_holds_the_weights_alone(tmp_path):
    train(tmp_path)
    assert list_steps(tmp_path / "checkpoints", "n") == [6, 8]
    final = load_checkpoint(tmp_path / "checkpoints", "ckpt_n_final")
    assert set(final.tensors) == set(NoisyModel().state_dict())
    NoisyModel().load_state_dict(final.tensors, strict=True)


def test_a_finished_training_is_not_trained_again(tmp_path):
    first, expected = train(tmp_path)
    second, weights = train(tmp_path)
    assert torch.equal(weights, expected)
    assert second == replace(first, resumed_step=10)
    assert len(read_curve(tmp_path / "curve.jsonl")) == 10


@pytest.mark.parametrize("kind", ["tensors", "sidecar", "all", "final"])
def test_damage_falls_back_is_reported_and_changes_no_bit_of_the_result(tmp_path, kind):
    _, expected = train(tmp_path / "whole")
    directory = tmp_path / "run"
    train(directory, stop_at=None if kind == "final" else 7)
    checkpoints = directory / "checkpoints"
    names = {
        "tensors": ["ckpt_n_step7.safetensors"],
        "sidecar": ["ckpt_n_step7.json"],
        "all": ["ckpt_n_step7.json", "ckpt_n_step6.safetensors"],
        "final": ["ckpt_n_final.safetensors"],
    }[kind]
    for name in names:
        data = bytearray((checkpoints / name).read_bytes())
        data[len(data) // 2] ^= 4
        (checkpoints / name).write_bytes(data)
    outcome, weights = train(directory)
    assert outcome.resumed_step == {"tensors": 6, "sidecar": 6, "all": 0, "final": 8}[kind]
    assert len(outcome.damaged) == len(names)
    assert names[0].split(".")[0] in outcome.damaged[0]
    assert torch.equal(weights, expected)
    assert [p.step for p in read_curve(directory / "curve.jsonl")] == list(range(1, 11))


def test_a_directory_with_another_training_is_refused_by_what_differs(tmp_path):
    train(tmp_path, stop_at=5)
    with pytest.raises(ForeignCheckpointError, match=r"lr_peak, seed differ"):
        train(tmp_path, config=replace(CONFIG, lr_peak=2e-2), seed=6)


def test_training_imports_no_compiler():
    code = (
        "import sys, torch; from arcfusion.core.training.config import TrainingConfig;"
        "from arcfusion.core.training.trainer import Trainer;"
        "x = torch.zeros((1, 2), dtype=torch.int64); model = torch.nn.Embedding(4, 4);"
        "config = TrainingConfig(steps=1, batch_size=1, context=2, lr_peak=1e-3);"
        "Trainer(model, config, batches=lambda step: (x, x), seed=0, directory=None,"
        " model_name='m').run();"
        "print('torch._dynamo' in sys.modules, 'torch._inductor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# Killed trainings run in children of one fresh process, so that torch is imported once.
DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from torch import nn
from arcfusion.core.training.config import TrainingConfig
from arcfusion.core.training.trainer import Trainer

CONFIG = TrainingConfig(steps=150, batch_size=4, context=16, lr_peak=1e-2, checkpoint_every=7,
                        keep_checkpoints=2, validate_every=50)

def train(directory, ready):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(32, 32), nn.Dropout(0.1), nn.Linear(32, 32))
    def batches(step):
        x = torch.randint(0, 32, (4, 17), generator=torch.Generator().manual_seed(step))
        return x[:, :-1], x[:, 1:]
    outcome = Trainer(model, CONFIG, batches=batches, seed=3, directory=directory,
                      model_name="k", validate=lambda step: 1.0,
                      report=lambda report: os.write(ready, b'x')).run()
    (directory / "outcome.json").write_text(json.dumps([outcome.status, outcome.resumed_step]))

def in_child(directory, kill_after_s=None):
    directory.mkdir(exist_ok=True)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            train(directory, writer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    os.read(reader, 1)
    started = time.monotonic()
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    os.close(reader)
    return time.monotonic() - started, os.WIFSIGNALED(status)

root = Path(sys.argv[1])
generator = random.Random(int(sys.argv[2]))
duration_s, _ = in_child(root / "whole")
n_killed, resumed = 0, []
for _ in range(4):
    n_killed += in_child(root / "killed", generator.uniform(0.05, 0.4) * duration_s)[1]
    resumed.append(max((int(p.stem.rpartition("step")[2])
                        for p in (root / "killed").rglob("*step*.json")), default=0))
in_child(root / "killed")
print(json.dumps({"n_killed": n_killed, "resumed": resumed}))
"""


def test_a_training_killed_at_random_moments_ends_with_the_same_file(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), "0"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    facts = json.loads(done.stdout)
    assert facts["n_killed"] >= 1
    assert max(facts["resumed"]) > 0
    finals = [
        load_checkpoint(tmp_path / name / "checkpoints", "ckpt_k_final")
        for name in ("whole", "killed")
    ]
    assert finals[0].sha256 == finals[1].sha256
    curves = [read_curve(tmp_path / name / "curve.jsonl") for name in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 150
    assert json.loads((tmp_path / "killed" / "outcome.json").read_text())[0] == "completed"
