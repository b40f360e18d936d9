"""This fails when a worker offers GPUs that it may not use."""

import pytest

from arcfusion.agents.machine import Gpus, find_gpus, select_gpus

MIB = 1 << 20
LINES = ("81559", "40960", "81559")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, Gpus(3, 40960 * MIB)),
        ("0,2", Gpus(2, 81559 * MIB)),
        ("2, 1", Gpus(2, 40960 * MIB)),
        ("", Gpus(0, 0)),
        ("-1", Gpus(0, 0)),
        ("0,9,1", Gpus(1, 81559 * MIB)),
        ("GPU-5ebe,MIG-1", Gpus(2, 40960 * MIB)),
    ],
)
def test_only_visible_devices_are_offered(visible, expected):
    assert select_gpus(LINES, visible) == expected


def test_a_machine_without_the_tool_or_with_a_broken_one_has_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == Gpus(0, 0)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    assert find_gpus() == Gpus(0, 0)
    tool.write_text("#!/bin/sh\necho 143771\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_gpus() == Gpus(1, 143771 * MIB)
