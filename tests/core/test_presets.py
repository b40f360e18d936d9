"""The presets: each builds at the size that its name says, and starts at chance."""

import math
from pathlib import Path

import pytest
import torch

import arcfusion.core.presets
from arcfusion.core.accounting import account
from arcfusion.core.model import LanguageModel
from arcfusion.core.spec import ArchSpec, SpecError, preset_names

SIZES = {"tiny": 0.47e6, "small": 3.6e6, "medium": 7.95e6}
CPU = {
    "mha": "mha mha mha mha",
    "gqa": "gqa gqa gqa gqa",
    "mqa": "mqa mqa mqa mqa",
    "mamba": "mamba1 mamba1 mamba1 mamba1",
    "linear-attention": "linear_attention linear_attention linear_attention linear_attention",
    "hybrid": "mamba1 mha mamba1 mha",
    "attention-first": "mha mamba1 mamba1 mamba1",
    "attention-last": "mamba1 mamba1 mamba1 mha",
    "sandwich": "mamba1 mha mha mamba1",
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_presets_are_the_files():
    folder = Path(next(iter(arcfusion.core.presets.__path__)))
    assert preset_names() == sorted(path.stem for path in folder.glob("*.yaml"))
    assert set(preset_names()) == {*SIZES, *CPU}
    assert all(ArchSpec.preset(name).name == name for name in preset_names())


@pytest.mark.parametrize("name", SIZES)
def test_a_size_has_about_its_parameters(name):
    spec = ArchSpec.preset(name)
    assert spec.vocab_size == 256
    assert {layer.mixer.kind for layer in spec.layers} == {"mha"}
    assert {layer.channel.kind for layer in spec.layers} == {"swiglu"}
    assert account(spec).parameters == pytest.approx(SIZES[name], rel=0.02)


@pytest.mark.parametrize("name", CPU)
def test_a_named_preset_has_its_layers_at_the_cpu_size(name):
    spec = ArchSpec.preset(name)
    assert [layer.mixer.kind for layer in spec.layers] == CPU[name].split()
    assert {layer.channel.kind for layer in spec.layers} == {"mlp"}
    assert spec.d_model == 64


@pytest.mark.parametrize("tied_head", [True, False])
@pytest.mark.parametrize("name", preset_names())
def test_a_preset_starts_within_two_percent_of_chance(name, tied_head):
    spec = ArchSpec.preset(name).replaced(tied_head=tied_head)
    generator = torch.Generator().manual_seed(1)
    ids_BT, targets_BT = torch.randint(spec.vocab_size, (2, 8, 32), generator=generator)
    with torch.no_grad():
        loss = LanguageModel(spec, seed=0).loss(ids_BT, targets_BT).item()
    assert loss == pytest.approx(math.log(spec.vocab_size), rel=0.02)


@pytest.mark.parametrize(("vocab_size", "d_model"), [(2, 64), (16, 256), (256, 768), (5000, 64)])
@pytest.mark.parametrize("tied_head", [True, False])
def test_the_first_loss_is_near_chance_at_any_vocabulary_and_width(vocab_size, d_model, tied_head):
    spec = ArchSpec.preset("hybrid").with_size(vocab_size=vocab_size, d_model=d_model, n_layers=2)
    spec = spec.replaced(tied_head=tied_head)
    generator = torch.Generator().manual_seed(1)
    ids_BT, targets_BT = torch.randint(vocab_size, (2, 16, 32), generator=generator)
    with torch.no_grad():
        loss = LanguageModel(spec, seed=0).loss(ids_BT, targets_BT).item()
    assert loss == pytest.approx(math.log(vocab_size), rel=0.02)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(SpecError, match=r"unknown preset 'mamab' \(did you mean 'mamba'\?\).*tiny"):
        ArchSpec.preset("mamab")
    with pytest.raises(SpecError, match="unknown preset"):
        ArchSpec.preset("../presets/tiny")
