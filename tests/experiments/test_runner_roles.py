"""The processes that run the model's code, with a thread of this process as supervisor."""

import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from arcfusion.core.data.corpus import Corpus
from arcfusion.core.data.dataset import prepare
from arcfusion.core.data.tokenizer import ByteTokenizer
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.training.config import TrainingConfig
from arcfusion.experiments.runner.bundle import create_run_directory
from arcfusion.experiments.runner.channel import (
    Channel,
    ChannelClosedError,
    ProtocolViolationError,
)
from arcfusion.experiments.runner.conversation import Claims, Listener, hear_training, serving
from arcfusion.experiments.runner.request import RunRequest
from arcfusion.experiments.runner.scoring_role import score
from arcfusion.experiments.runner.stopwatch import TrainingStopwatch
from arcfusion.experiments.runner.training_role import train

MODEL = """
from torch import nn

def build(vocab_size, d_model=8, n_layers=1):
    return nn.Sequential(nn.Embedding(vocab_size, d_model), nn.Linear(d_model, vocab_size))
"""


@pytest.fixture
def run_dir(tmp_path):
    corpus = Corpus(
        name="text",
        data=Path(__file__).read_bytes()[:3000],
        sha256="0" * 64,
        licence="none",
        description="this file",
    )
    request = RunRequest(
        run_id="run",
        model_name="model",
        vocab_size=256,
        d_model=None,
        n_layers=None,
        seed=3,
        training=TrainingConfig(
            steps=4, batch_size=2, context=16, lr_peak=1e-2, validate_every=2, checkpoint_every=2
        ),
        tier=Tier.WEAK,
        harness_version="1",
    )
    data = prepare(corpus, ByteTokenizer(), n_tracks=2, directory=tmp_path / "data")
    return create_run_directory(tmp_path / "run", request, MODEL, data)


class Supervision:
    """Hears a training in a thread of its own."""

    def __init__(self, channel, steps=4):
        self.steps, self.validated, self.claims, self.error = [], [], Claims(), None
        self.stopwatch = TrainingStopwatch(free_rests=10)
        self.thread = threading.Thread(target=self.hear, args=(channel, steps))
        self.thread.start()

    def hear(self, channel, steps):
        listener = Listener(
            on_step=lambda step, loss: self.steps.append((step, loss)),
            on_validate=self.validated.append,
        )
        worker = type("Worker", (), {"channel": channel, "pid": 0})
        try:
            hear_training(
                worker, self.stopwatch, listener, self.claims, steps=steps, max_validations=2
            )
        except ProtocolViolationError as error:
            self.error = error
            channel.close()


def train_supervised(run_dir, steps=4):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        supervision = Supervision(Channel(ours), steps)
        try:
            train(run_dir, Channel(theirs), False)
        except ChannelClosedError:
            assert supervision.error is not None
        supervision.thread.join(timeout=30)
    return supervision


def test_a_training_tells_its_steps_and_rests_while_it_is_validated(run_dir):
    heard = train_supervised(run_dir)
    assert heard.error is None
    assert (heard.claims.status, heard.claims.steps) == ("completed", 4)
    assert heard.validated == [2]
    assert {1, 2, 4} <= {step for step, _ in heard.steps}
    assert all(4 < loss < 7 for _, loss in heard.steps)
    assert heard.claims.parameters == 256 * 8 + 8 * 256 + 256
    assert heard.claims.torch_version == torch.__version__
    assert heard.stopwatch.seconds > 0
    again = train_supervised(run_dir)
    assert (again.claims.status, again.claims.resumed_step) == ("completed", 4)
    assert again.steps == []


def test_a_training_that_claims_more_steps_than_it_was_asked_for_is_refused(run_dir):
    heard = train_supervised(run_dir, steps=2)
    assert "it must be in [0, 2]" in str(heard.error)


def test_the_scoring_process_serves_the_saved_weights(run_dir):
    train_supervised(run_dir)
    from safetensors.torch import load_file

    weights = load_file(run_dir / "work" / "checkpoints" / "ckpt_m-model_final.safetensors")
    ours, theirs = socket.socketpair()
    ids = np.arange(32, dtype=np.int64).reshape(2, 16)
    with ours, theirs:
        thread = threading.Thread(target=score, args=(run_dir, Channel(theirs), False))
        thread.start()
        channel = Channel(ours)
        channel.send("load", {"directory": "checkpoints", "name": "ckpt_m-model_final"})
        assert channel.receive().kind == "ready"
        logits = serving(channel, 256)(ids)
        channel.send("enough")
        thread.join(timeout=30)
    embedded = weights["0.weight"][torch.from_numpy(ids)]
    expected = embedded @ weights["1.weight"].T + weights["1.bias"]
    assert logits.shape == (2, 16, 256)
    assert np.allclose(logits, expected.numpy(), atol=1e-5)
