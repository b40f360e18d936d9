import random

import pytest
import torch
from torch import nn

from arcfusion.core.errors import BadInputError
from arcfusion.core.training.checkpoint import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    checkpoint_name,
    find_newest,
    list_steps,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from arcfusion.core.training.state import (
    ForeignStateError,
    UnsavableModelError,
    model_tensors,
    restore_model,
)


def save_step(directory, step, model="m"):
    tensors = {"weight": torch.full((3, 2), float(step)), "count": torch.tensor(step)}
    return save_checkpoint(directory, checkpoint_name(model, step), tensors, {"step": step})


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    sha256 = save_step(tmp_path, 3)
    loaded = load_checkpoint(tmp_path, "ckpt_m_step3")
    assert torch.equal(loaded.tensors["weight"], torch.full((3, 2), 3.0))
    assert loaded.tensors["count"].dtype == torch.int64
    assert loaded.record == {"step": 3}
    assert loaded.sha256 == sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ckpt_m_step3.json",
        "ckpt_m_step3.safetensors",
    ]


def test_every_damage_to_either_file_is_found(tmp_path):
    generator = random.Random(0)
    save_step(tmp_path, 1)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        damages = [bytearray(whole[:cut]) for cut in (0, 1, len(whole) // 2, len(whole) - 2)]
        for _ in range(120):
            flipped = bytearray(whole)
            flipped[generator.randrange(len(whole) - 1)] ^= 1 << generator.randrange(8)
            damages.append(flipped)
        for damage in damages:
            path.write_bytes(damage)
            with pytest.raises(DamagedCheckpointError):
                load_checkpoint(tmp_path, "ckpt_m_step1")
        path.write_bytes(whole)
        load_checkpoint(tmp_path, "ckpt_m_step1")


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_is_named(tmp_path):
    for step in (2, 9, 10):
        save_step(tmp_path, step)
    (tmp_path / "ckpt_m_step10.safetensors").write_bytes(b"")
    (tmp_path / "ckpt_m_step9.json").write_text("{")
    newest = find_newest(tmp_path, "m")
    assert newest.checkpoint.record == {"step": 2}
    assert [line.split(":")[0] for line in newest.damaged] == ["ckpt_m_step10", "ckpt_m_step9"]


def test_tensors_without_a_sidecar_do_not_count(tmp_path):
    save_step(tmp_path, 1)
    save_step(tmp_path, 2)
    (tmp_path / "ckpt_m_step2.json").unlink()
    assert list_steps(tmp_path, "m") == [1]
    with pytest.raises(CheckpointNotFoundError, match="ckpt_m_step2"):
        load_checkpoint(tmp_path, "ckpt_m_step2")


def test_new_tensors_under_an_old_sidecar_are_damage(tmp_path):
    save_step(tmp_path, 1)
    sidecar = (tmp_path / "ckpt_m_step1.json").read_text()
    save_checkpoint(tmp_path, "ckpt_m_step1", {"weight": torch.ones(1)}, {"step": 1})
    (tmp_path / "ckpt_m_step1.json").write_text(sidecar)
    with pytest.raises(DamagedCheckpointError):
        load_checkpoint(tmp_path, "ckpt_m_step1")


def test_a_checkpoint_under_another_name_is_damage(tmp_path):
    save_step(tmp_path, 1)
    for suffix in (".json", ".safetensors"):
        (tmp_path / f"ckpt_m_step1{suffix}").rename(tmp_path / f"ckpt_m_step7{suffix}")
    with pytest.raises(DamagedCheckpointError):
        load_checkpoint(tmp_path, "ckpt_m_step7")


def test_pruning_keeps_the_newest_by_number_and_other_models(tmp_path):
    for step in (5, 10, 100):
        save_step(tmp_path, step)
    save_step(tmp_path, 1, model="m_step5")
    prune_checkpoints(tmp_path, "m", keep=2)
    assert list_steps(tmp_path, "m") == [10, 100]
    assert list_steps(tmp_path, "m_step5") == [1]
    assert not (tmp_path / "ckpt_m_step5.safetensors").exists()


def test_names_are_as_documented_and_can_not_leave_the_directory():
    assert checkpoint_name("gqa-4", 12) == "ckpt_gqa-4_step12"
    assert checkpoint_name("gqa-4", None) == "ckpt_gqa-4_final"
    for name in ("../x", "a/b", "", ".hidden", "a b"):
        with pytest.raises(BadInputError):
            checkpoint_name(name, 1)


class TiedModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embedding.weight
        self.view = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())


def test_tied_and_transposed_weights_load_strictly_into_a_fresh_model(tmp_path):
    model = TiedModel()
    save_checkpoint(tmp_path, "ckpt_m_final", model_tensors(model), {})
    fresh = TiedModel()
    restore_model(fresh, load_checkpoint(tmp_path, "ckpt_m_final").tensors)
    assert fresh.head.weight is fresh.embedding.weight
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True)
    )


def test_weights_of_another_model_are_refused():
    with pytest.raises(ForeignStateError, match="another model"):
        restore_model(nn.Linear(2, 2), nn.Linear(3, 2).state_dict())


def test_a_model_with_state_that_is_no_tensor_is_refused():
    class Odd(nn.Linear):
        def get_extra_state(self):
            return {"secret": 1}

    with pytest.raises(UnsavableModelError, match="_extra_state"):
        model_tensors(Odd(2, 2))
