import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import gate as gate_command
from arcfusion.agents.cli.typed import build_app
from arcfusion.core.identity import fingerprint
from arcfusion.core.model_file import ModelFileError, build_from_file, read_model_source
from arcfusion.core.sandbox.limits import MEBIBYTE, Limits
from arcfusion.core.sandbox.strength import Tier
from arcfusion.experiments.gates import Outcome
from arcfusion.experiments.gates.confined import gate_source, inspect_file

HONEST = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.mix = nn.Linear(d_model, d_model)

    def forward(self, ids_BT):
        x_BTD = self.embed(ids_BT)
        return (x_BTD + 0.1 * torch.tanh(self.mix(x_BTD)).cumsum(1)) @ self.embed.weight.T

def build(vocab_size=64, d_model=16, n_layers=1):
    print("a model may talk")
    return Model(vocab_size, d_model)
"""
LEAKING = HONEST.replace(".cumsum(1)", ".flip(1).cumsum(1).flip(1)")
FORGING = """
import os
def build(vocab_size=64, d_model=16, n_layers=1):
    for fd in range(3, 40):
        try:
            os.write(fd, b'{"report": "[]"}')
        except OSError:
            pass
    os._exit(0)
"""
QUICK = Limits(wall_s=1.0, cpu_s=60, memory_bytes=2048 * MEBIBYTE, disk_bytes=16 * MEBIBYTE)


def test_an_honest_file_passes_and_its_printing_does_not_disturb_the_report():
    report = gate_source(HONEST, tier=Tier.NONE)
    assert report.verdict is Outcome.PASS, report


def test_a_leaking_file_fails_the_causality_gate():
    report = gate_source(LEAKING, tier=Tier.NONE, only=("causality",), vocab_size=32, d_model=8)
    assert report.verdict is Outcome.FAIL
    assert report.results[0].figure > report.results[0].limit


def test_a_forged_report_a_crash_and_an_endless_loop_are_failed_reports():
    forged = gate_source(FORGING, tier=Tier.NONE, only=("forward",))
    assert forged.verdict is Outcome.FAIL
    endless = HONEST.replace('    print("a model may talk")', "    import time; time.sleep(60)")
    ended = gate_source(endless, tier=Tier.NONE, limits=QUICK)
    assert ended.verdict is Outcome.FAIL
    assert "ended for its wall" in ended.results[0].detail
    crashed = HONEST.replace('    print("a model may talk")', "    import os; os._exit(7)")
    report = gate_source(crashed, tier=Tier.NONE)
    assert "ended with 7" in report.results[0].detail


def test_the_identity_of_a_file_is_that_of_the_model_it_builds(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(HONEST)
    seen = inspect_file(path, required=Tier.NONE, vocab_size=32, d_model=8, n_layers=1)
    model = build_from_file(path, vocab_size=32, d_model=8, n_layers=1)
    assert seen.fingerprint == fingerprint(model, vocab_size=32)
    assert seen.parameters == 32 * 8 + 8 * 8 + 8


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def build(:", "not Python, line 1"),
        ("x = 1", "defines no function `build`"),
        ("def build(vocab_size, width): ...", r"\(vocab_size, width\).*d_model"),
        ("def build(vocab_size, d_model, n_layers, /): ...", "needs build"),
        ("\0", "not Python"),
    ],
)
def test_a_file_that_is_no_model_file_is_refused_before_it_is_run(tmp_path, source, text):
    path = tmp_path / "model.py"
    path.write_text(source)
    with pytest.raises(ModelFileError, match=text):
        read_model_source(path)
    with pytest.raises(ModelFileError, match=text):
        gate_source(source, tier=Tier.NONE)


def test_a_missing_and_an_unreadable_file_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        read_model_source(tmp_path / "gone.py")
    path = tmp_path / "latin.py"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ModelFileError, match="UTF-8"):
        read_model_source(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ModelFileError, match="1000001 bytes"):
        read_model_source(path)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1 / 0\ndef build(vocab_size, d_model, n_layers): ...", "ZeroDivisionError"),
        ("def build(vocab_size, d_model, n_layers): ...", "returned NoneType"),
        ("def build(vocab_size, d_model, n_layers): raise KeyError('x')", "KeyError"),
    ],
)
def test_a_file_that_raises_or_builds_no_module_says_so(tmp_path, source, text):
    path = tmp_path / "model.py"
    path.write_text(source)
    with pytest.raises(ModelFileError, match=text):
        build_from_file(path, vocab_size=8, d_model=8, n_layers=1)
    with pytest.raises(ModelFileError, match="no default for vocab_size|" + text):
        build_from_file(path)


def command(*arguments):
    return CliRunner().invoke(build_app(gate_command.app), list(arguments))


def test_the_command_prints_the_report_and_passes_a_preset(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = command("run", "mqa", "--json", "--d-model", "32", "--layers", "1")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)["data"]
    assert (data["target"], data["verdict"], data["sandbox_tier"]) == ("mqa", "pass", None)
    listed = json.loads(command("list", "--json").stdout)["data"]["gates"]
    assert [g["name"] for g in data["gates"]] == [g["name"] for g in listed]
    assert set(data["gates"][0]) == {"name", "outcome", "figure", "unit", "limit", "detail"}


def test_the_command_refuses_a_leaking_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "leaking.py"
    path.write_text(LEAKING)
    result = command("run", str(path), "--sandbox", "none", "--gate", "causality")
    assert isinstance(result.exception, gate_command.GateRefusedError)
    assert result.exception.exit_code == 5
    assert "causality" in str(result.exception)
    assert "fail (sandbox" in result.stdout
