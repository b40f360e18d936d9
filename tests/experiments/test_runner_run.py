"""Whole runs: a directory, a supervisor, a confined training, a trusted score."""

import contextlib
import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arcfusion.core.data.corpus import Corpus
from arcfusion.core.data.dataset import prepare, validation_windows
from arcfusion.core.data.tokenizer import ByteTokenizer
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.sandbox.tier import detect_tier
from arcfusion.core.training.config import TrainingConfig
from arcfusion.experiments.launch import local
from arcfusion.experiments.runner.bundle import create_run_directory
from arcfusion.experiments.runner.record import read_result, read_status
from arcfusion.experiments.runner.request import DEFAULT_LIMITS, RunRequest
from arcfusion.experiments.runner.supervisor import supervise_run

MODEL = """
import ctypes, os, sys, time
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, ids):
        return self.hook(ids, self.head(self.embedding(ids)))

    def hook(self, ids, logits):
        return logits

def build(vocab_size, d_model=16, n_layers=1):
    return Model(vocab_size, d_model)
"""


def model_with(body):
    """The model with something else done in each forward pass."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"{MODEL}\ndef hook(self, ids, logits):\n{lines}\nModel.hook = hook\n"


SLOW = model_with("time.sleep(0.03 if self.training else 0)\nreturn logits")
HOSTILE = model_with("""
report = []
def attempt(name, action):
    try:
        action()
    except OSError as error:
        report.append(f"{name}:{type(error).__name__}")
    else:
        report.append(f"{name}:WORKED")
run = os.path.dirname(os.getcwd())
attempt("result", lambda: open(run + "/result.json", "w").write("{}"))
attempt("status", lambda: open(run + "/status.json", "w").write("{}"))
attempt("data", lambda: open(run + "/train.bin", "r+b").write(b"x"))
attempt("labels", lambda: open(run + "/validation.bin", "rb").read())
attempt("fork", os.fork)
attempt("passwd", lambda: open("/etc/passwd").read())
if not self.training:
    attempt("memory", lambda: open("seen", "wb").write(b"x"))
    frame, found = sys._getframe(1), 0
    while frame:
        found += sum(
            isinstance(v, torch.Tensor) and v.dtype == torch.int64 and v is not ids
            for v in frame.f_locals.values()
        )
        frame = frame.f_back
    report.append(f"frames:{found}")
print(" ".join(report), flush=True)
return logits
""")
FORGED_LOSS = model_with("""
import arcfusion.core.training.trainer as trainer
trainer.cross_entropy = lambda logits, targets: (logits * 0).sum() + 0.01
return logits
""")
PEEKING = model_with("""
if self.training:
    return logits
following = torch.roll(ids, -1, 1)[..., None]
return torch.full_like(logits, -10.0).scatter(2, following, 10.0)
""")
MIXING = model_with("return logits + logits.mean(0, keepdim=True)")
NAN_WHEN_SERVED = model_with("return logits if self.training else logits * float('nan')")
CRASHING = model_with("ctypes.string_at(0)")
HANGING = model_with("time.sleep(600)")


@pytest.fixture(scope="module", autouse=True)
def needs_good_tier():
    if detect_tier().tier < Tier.GOOD:
        pytest.skip(f"no confinement here: {detect_tier().reason}")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    data = Path(os.__file__).read_bytes()[:12000]
    corpus = Corpus(name="os", data=data, sha256="0" * 64, licence="PSF", description="os.py")
    directory = tmp_path_factory.mktemp("data") / "prepared"
    return prepare(corpus, ByteTokenizer(), n_tracks=2, directory=directory)


@pytest.fixture(scope="module")
def make_run(tmp_path_factory, prepared):
    root = tmp_path_factory.mktemp("runs")

    def make(name, source, *, limits=DEFAULT_LIMITS, stall_s=900.0, **training):
        config = {"steps": 6, "batch_size": 2, "context": 32, "lr_peak": 1e-2} | training
        request = RunRequest(
            run_id=name,
            model_name="a model",
            vocab_size=256,
            d_model=16,
            n_layers=1,
            seed=1,
            training=TrainingConfig(**config),
            tier=Tier.GOOD,
            harness_version="1",
            limits=limits,
            stall_s=stall_s,
        )
        return create_run_directory(root / name, request, source, prepared)

    return make


@pytest.fixture(scope="module")
def honest(make_run):
    run_dir = make_run("honest", MODEL, validate_every=3)
    assert supervise_run(run_dir) == 0
    return run_dir


def finish(run_dir):
    assert supervise_run(run_dir) == 0
    return read_result(run_dir)


def wait_for(condition, *, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def recompute_loss(run_dir, prepared):
    """The score by another path: torch, in this process, from the saved weights."""
    import torch
    from safetensors.torch import load_file

    namespace = {"__name__": "model"}
    exec(MODEL, namespace)
    model = namespace["build"](256)
    (path,) = (run_dir / "work" / "checkpoints").glob("*_final.safetensors")
    model.load_state_dict(load_file(path))
    windows = validation_windows(prepared, 32)
    with torch.no_grad():
        logits = model(torch.from_numpy(windows.inputs)).double()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(windows.targets).flatten(), reduction="none"
    )
    mask = torch.from_numpy(windows.mask).flatten()
    return losses[mask].mean().item(), losses[mask].sum().item() / math.log(2) / windows.n_bytes


def test_a_run_is_trained_and_scored_over_the_whole_validation_split(honest, prepared):
    result = read_result(honest)
    assert result.outcome == "completed"
    assert (result.steps, result.tokens) == (6, 6 * 2 * 32)
    loss, bits = recompute_loss(honest, prepared)
    assert result.val_loss_nats == pytest.approx(loss, rel=1e-6)
    assert result.bits_per_byte == pytest.approx(bits, rel=1e-6)
    assert result.perplexity == pytest.approx(math.exp(loss), rel=1e-6)
    assert result.parameters == 256 * 16 + 16 * 256 + 256
    assert result.sandbox_tier == Tier.GOOD
    assert 0 < result.train_seconds < result.wall_seconds
    assert result.tokens_per_s == pytest.approx(result.tokens / result.train_seconds)
    assert result.causality_gap < 1e-4
    assert read_status(honest).state == "done"


def test_the_curve_has_a_trusted_validation_where_one_was_due(honest):
    curve = read_result(honest).curve
    assert {1, 3, 6} <= {sample.step for sample in curve}
    validated = {sample.step: sample.val_loss for sample in curve if sample.val_loss}
    assert set(validated) == {3}
    assert validated[3] == pytest.approx(math.log(256), rel=0.1)
    seconds = [sample.train_seconds for sample in curve]
    assert seconds == sorted(seconds)


def test_a_finished_run_is_not_trained_again(honest):
    before = (honest / "result.json").read_bytes()
    local.launch(honest)
    assert supervise_run(honest) == 0
    assert (honest / "result.json").read_bytes() == before
    assert len((honest / "attempts.jsonl").read_text().splitlines()) == 1


def test_hostile_code_gets_nowhere_and_its_score_is_the_honest_one(make_run, honest):
    run_dir = make_run("hostile", HOSTILE, validate_every=3)
    result, expected = finish(run_dir), read_result(honest)
    words = set((run_dir / "child.log").read_text().split())
    denied = ("result", "status", "data", "labels", "fork", "passwd", "memory")
    assert words == {f"{name}:PermissionError" for name in denied} | {"frames:0"}
    assert result.outcome == "completed"
    assert result.weights_sha256 == expected.weights_sha256
    assert result.val_loss_nats == expected.val_loss_nats


def test_a_forged_loss_changes_what_is_reported_and_not_the_score(make_run):
    result = finish(make_run("forged", FORGED_LOSS))
    assert result.reported["final_train_loss"] == pytest.approx(0.01)
    assert result.val_loss_nats == pytest.approx(math.log(256), rel=0.1)


@pytest.mark.parametrize(
    ("name", "source", "word"),
    [("peeking", PEEKING, "looks ahead"), ("mixing", MIXING, "more than the window")],
)
def test_logits_that_are_no_causal_function_of_the_window_are_a_leak(make_run, name, source, word):
    result = finish(make_run(name, source))
    assert result.outcome == "leak"
    assert word in result.reason
    assert result.bits_per_byte is None


def test_logits_that_are_no_numbers_are_invalid(make_run):
    result = finish(make_run("nan", NAN_WHEN_SERVED, validate_every=3))
    assert result.outcome == "invalid"
    assert "not finite" in result.reason
    assert result.steps == 6


def test_a_crash_is_a_result_with_the_signal(make_run):
    result = finish(make_run("crashing", CRASHING))
    assert result.outcome == "crashed"
    assert "SIGSEGV" in result.reason


def test_a_training_that_hangs_is_killed_at_its_limit(make_run):
    limits = replace(DEFAULT_LIMITS, wall_s=6.0)
    result = finish(make_run("hanging", HANGING, limits=limits))
    assert (result.outcome, result.steps) == ("killed", 0)
    assert "longer than 6 s" in result.reason


def test_a_training_that_says_nothing_is_killed(make_run):
    result = finish(make_run("stalled", HANGING, stall_s=1.0))
    assert result.outcome == "killed"
    assert "said nothing for 1 s" in result.reason


def test_data_that_was_changed_after_the_preparation_is_refused(make_run):
    run_dir = make_run("damaged", MODEL)
    data = (run_dir / "validation.bin").read_bytes()
    (run_dir / "validation.bin").unlink()
    (run_dir / "validation.bin").write_bytes(bytes(len(data)))
    with pytest.raises(Exception, match="damaged"):
        supervise_run(run_dir)
    assert read_status(run_dir).state == "failed"
    assert read_result(run_dir) is None


def test_a_run_survives_its_launcher_a_kill_and_an_interruption(make_run):
    settings = {"steps": 90, "checkpoint_every": 5}
    run_dir = make_run("slow", SLOW, **settings)
    local.launch(run_dir)
    assert local.is_alive(run_dir)
    local.launch(run_dir)
    wait_for(lambda: read_status(run_dir) and read_status(run_dir).step >= 8)
    assert len((run_dir / "attempts.jsonl").read_text().splitlines()) == 1

    killed = read_status(run_dir).pid
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not local.is_alive(run_dir))
    assert read_result(run_dir) is None
    wait_for(lambda: processes_of(run_dir) == [])

    local.launch(run_dir)
    wait_for(lambda: read_status(run_dir).pid != killed and read_status(run_dir).step >= 14)
    assert local.cancel(run_dir)
    assert read_result(run_dir) is None
    assert read_status(run_dir).state == "interrupted"
    assert processes_of(run_dir) == []

    local.launch(run_dir)
    (progress,) = local.wait([run_dir], lambda _: None)
    result = progress.result
    assert (result.outcome, result.steps, result.attempts) == ("completed", 90, 3)
    assert result.train_seconds > 90 * 0.03
    steps = [sample.step for sample in result.curve]
    assert steps == sorted(set(steps))
    assert steps[-1] == 90
    uninterrupted = finish(make_run("fast", MODEL, **settings))
    assert result.weights_sha256 == uninterrupted.weights_sha256
    assert result.val_loss_nats == uninterrupted.val_loss_nats


def processes_of(run_dir):
    """Processes that have the run's directory in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(run_dir).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_the_result_survives_json(honest):
    result = read_result(honest)
    assert type(result).from_json(result.to_json()) == result
    assert json.loads(result.to_json())["curve"][0]["step"] == result.curve[0].step
    assert np.isfinite(result.peak_memory_bytes)


def test_a_run_that_is_cancelled_while_it_starts_can_be_resumed(make_run):
    run_dir = make_run("early", MODEL)
    local.launch(run_dir)
    wait_for(lambda: read_status(run_dir) is not None)
    assert local.cancel(run_dir)
    assert read_status(run_dir).state == "interrupted"
    assert read_result(run_dir) is None
