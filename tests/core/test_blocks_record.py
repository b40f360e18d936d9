"""Records, channels, norms and positions: what a component says is what its code does."""

import pytest
import torch

from arcfusion.core.blocks import (
    CHANNELS,
    MIXERS,
    NORMS,
    POSITIONS,
    component_names,
    load_component,
)
from arcfusion.core.blocks.component import Port
from arcfusion.core.blocks.learned_position import LearnedPosition
from arcfusion.core.spec import ArchSpec, Choice

TOKENWISE = [*CHANNELS, *NORMS]
SURROUNDINGS = ArchSpec.preset("mha")


def build(name, d_model=64):
    component = load_component(name)
    arguments = component.arguments(component.options(), d_model, SURROUNDINGS)
    return component.load_factory()(**arguments)


@pytest.mark.parametrize("name", component_names())
def test_a_record_is_complete_and_in_the_table_of_its_category(name):
    component = load_component(name)
    tables = {"mixer": MIXERS, "channel": CHANNELS, "norm": NORMS, "position": POSITIONS}
    assert component.name == name
    assert name in tables[component.category]
    assert 1950 < component.year <= 2100
    for text in (component.description, component.source, component.time_complexity):
        assert text.strip() == text != ""
    assert component.space_complexity.startswith("O(")
    assert callable(component.load_factory())
    assert component.input_port.fits(component.output_port)


@pytest.mark.parametrize("d_model", [8, 24, 64])
@pytest.mark.parametrize("name", [*MIXERS, *TOKENWISE, "learned"])
def test_the_record_counts_every_parameter(name, d_model):
    component = load_component(name)
    module = build(name, d_model)
    counted = sum(p.numel() for p in module.parameters())
    assert component.count_parameters(component.options(), d_model) == counted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", TOKENWISE)
def test_channels_and_norms_keep_shape_and_dtype_with_any_leading_axes(name, dtype):
    module = build(name).to(dtype)
    for shape in ((2, 5, 64), (3, 64)):
        y = module(torch.randn(shape).to(dtype))
        assert (y.shape, y.dtype) == (torch.Size(shape), dtype)


@pytest.mark.parametrize("name", TOKENWISE)
def test_channels_and_norms_look_at_one_token_only(name):
    module = build(name)
    x_BTD = torch.randn(2, 7, 64)
    y_BTD = module(x_BTD)
    torch.testing.assert_close(module(x_BTD[:, 3]), y_BTD[:, 3], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", TOKENWISE)
def test_the_gradient_reaches_every_parameter_of_channels_and_norms(name):
    module = build(name)
    (module(torch.randn(2, 5, 64)) * torch.randn(2, 5, 64)).sum().backward()
    for key, parameter in module.named_parameters():
        assert (parameter.grad != 0).all() if name in NORMS else (parameter.grad != 0).any(), key


def test_norms_equal_their_definitions():
    x_BTD = torch.randn(2, 3, 64, dtype=torch.float64) * 3 + 1
    rms, layer = build("rmsnorm").double(), build("layernorm").double()
    torch.testing.assert_close(
        rms(x_BTD), x_BTD / (x_BTD.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    )
    centred = x_BTD - x_BTD.mean(-1, keepdim=True)
    torch.testing.assert_close(
        layer(x_BTD), centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    )


@pytest.mark.parametrize(
    ("name", "d_model", "ratio", "hidden"),
    [("mlp", 64, 4.0, 256), ("mlp", 10, 1.0, 16), ("swiglu", 64, 8 / 3, 176), ("mlp", 24, 2.0, 48)],
)
def test_hidden_widths_are_whole_eights(name, d_model, ratio, hidden):
    component = load_component(name)
    options = component.options(ratio=ratio)
    assert component.arguments(options, d_model, SURROUNDINGS)["d_hidden"] == hidden


@pytest.mark.parametrize("name", component_names())
@pytest.mark.parametrize("d_model", [8, 12, 64, 100, 512])
def test_resolving_options_twice_changes_nothing(name, d_model):
    once = Choice(kind=name).resolved(d_model)
    assert once.resolved(d_model) == once


def test_learned_positions_are_added_from_the_offset_on():
    position = LearnedPosition(10, 4)
    x_BTD = torch.zeros(1, 3, 4)
    assert torch.equal(position(x_BTD, 7)[0], position.weight[7:10])


def test_learned_positions_say_where_they_end():
    with pytest.raises(ValueError, match=r"11 tokens is too long.*max_seq_len 10"):
        LearnedPosition(10, 4)(torch.zeros(1, 11, 4))


def test_a_port_finds_what_is_wrong_with_a_tensor():
    port = Port("B T D")
    assert port.problems((2, 3, 4), "torch.bfloat16", {"D": 4}) == []
    assert port.problems((2, 3), "torch.float32", {}) == ["rank 2, expected 3 (B T D)"]
    assert port.problems((2, 3, 5), "torch.float32", {"D": 4}) == ["axis D is 5, expected 4"]
    assert port.problems((2, 3, 4), "torch.int64", {}) == ["dtype torch.int64, expected float"]
    assert Port("B T", "int64").problems((2, 3), "torch.int64", {}) == []


def test_ports_fit_when_axes_and_dtype_agree():
    assert Port("B T D").fits(Port("B T D"))
    assert not Port("B T D").fits(Port("B T V"))
    assert not Port("B T").fits(Port("B T", "int64"))
    with pytest.raises(ValueError, match="'B Q'"):
        Port("B Q")
