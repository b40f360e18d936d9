"""This fails when Ctrl-C loses a training, or kill -9 of a worker makes the next one start over."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arcfusion.agents.demo import BACKLOG, make_lab
from arcfusion.core import store
from arcfusion.core.home import new_home
from arcfusion.experiments.launch.local import is_alive, read_status
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import Status

ARCFUSION = Path(sys.executable).with_name("arcfusion")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
PROTOCOL = """
name: own
data: pydoc
tokenizer: bytes
vocab_size: 256
n_tracks: 16
validation_fraction: 0.02
device_class: cpu
training: {steps: 400, batch_size: 4, context: 32, lr_peak: 0.001, checkpoint_every: 100}
"""
PLAN = BACKLOG.with_name("one.yaml")
SPEC = "name: small\nd_model: 32\nlayers: [mha]\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    store.create(new_home(tmp_path))
    (tmp_path / "p.yaml").write_text(PROTOCOL)
    (tmp_path / "a.yaml").write_text(SPEC)
    return tmp_path


def start(lab: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(ARCFUSION), "train", "a.yaml", "--protocol", "p.yaml", "--json"],
        cwd=lab, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_a_step(lab: Path, process: "subprocess.Popen[str]") -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for directory in (lab / ".arcfusion" / "runs").glob("run-*"):
            status = read_status(directory)
            if status is not None and status.step > 20:
                return directory
        time.sleep(0.05)
    raise AssertionError("no step in 60 s")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_training_goes_on_after_its_command_was_stopped(lab: Path, sent: signal.Signals) -> None:
    process = start(lab)
    directory = wait_for_a_step(lab, process)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    if sent is signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in err
        assert not is_alive(directory)
    again = start(lab)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert json.loads(out)["data"]["outcome"] == "completed"
    result = json.loads((directory / "result.json").read_text())
    assert result["steps"] == 400
    # A killed command leaves its training alone; an interrupted one is resumed, not started over.
    assert result["attempts"] == (2 if sent is signal.SIGINT else 1)


def test_a_worker_that_is_asked_to_end_gives_its_issue_back(tmp_path: Path) -> None:
    home = make_lab(tmp_path / "lab", actor="t", plan=PLAN)
    process = subprocess.Popen(
        [str(ARCFUSION), "agent", "run", "--role", "worker", "--once", "--actor", "t"],
        cwd=home.workspace_path, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    with Queue(home, "person") as queue:
        deadline = time.monotonic() + 60
        while not queue.list(statuses=[Status.IN_PROGRESS]) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)  # past the claim's own transaction
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        (issue,) = queue.list()
        attempt = queue.show(issue.id).attempts[-1]
    assert process.returncode == 130, err
    assert (issue.status, issue.failures) == (Status.OPEN, 0)
    assert attempt.handoff is not None
    assert not [path for path in home.runs_path.iterdir() if is_alive(path)]
