"""Causal depthwise convolution: values, gradients, state, and errors."""

import pytest
import torch

from arcfusion.kernels.conv import causal_conv1d, causal_conv1d_step
from arcfusion.kernels.conv.api import UnknownActivationError
from arcfusion.kernels.errors import BackendUnavailableError, DtypeError, ShapeError
from arcfusion.kernels.testing import err_ratio


def make_case(*, batch=2, length=20, channels=5, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "x_BLD": (batch, length, channels),
        "weight_DK": (channels, width),
        "bias_D": (channels,),
        "initial_state_BKD": (batch, width - 1, channels),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def differentiate(case, *, backend, activation=None):
    leaves = {name: x.detach().clone().requires_grad_() for name, x in case.items()}
    y, state = causal_conv1d(**leaves, activation=activation, return_state=True, backend=backend)
    weights = tuple(torch.arange(o.numel()).sin().view_as(o).to(o.dtype) for o in (y, state))
    gradients = torch.autograd.grad((y, state), tuple(leaves.values()), weights)
    return {"y": y.detach(), "state": state.detach(), **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.parametrize("backend", ["chunked", "reference"])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_values_equal_torchs_own_convolution(backend, width):
    case = make_case(width=width)
    padded = torch.cat([case["initial_state_BKD"], case["x_BLD"]], 1).transpose(1, 2)
    weight = case["weight_DK"][:, None]
    expected = torch.nn.functional.conv1d(padded, weight, case["bias_D"], groups=5).transpose(1, 2)
    assert err_ratio(causal_conv1d(**case, backend=backend), expected) < 1e-6


@pytest.mark.parametrize("length", [1, 2, 3, 4, 63, 64, 65])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_outputs_and_every_gradient_equal_the_reference(length, width, activation):
    case = make_case(length=length, width=width, channels=7)
    exact = {name: x.double() for name, x in case.items()}
    truth = differentiate(exact, backend="reference", activation=activation)
    found = differentiate(case, backend="chunked", activation=activation)
    for name, expected in truth.items():
        if expected.numel():
            assert err_ratio(found[name], expected) < 1e-6, name


def test_gradients_agree_with_finite_differences_in_fp64():
    case = make_case(length=5, channels=2, width=3)
    leaves = tuple(x.double().requires_grad_() for x in case.values())

    def conv(*tensors):
        arguments = dict(zip(case, tensors, strict=True))
        return causal_conv1d(**arguments, activation="silu", return_state=True)

    assert torch.autograd.gradcheck(conv, leaves)


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_the_state_holds_the_last_inputs_even_when_there_are_fewer_than_it_holds(backend):
    case = make_case(length=2, width=4)
    _, state = causal_conv1d(**case, return_state=True, backend=backend)
    assert torch.equal(state, torch.cat([case["initial_state_BKD"][:, 2:], case["x_BLD"]], 1))
    del case["initial_state_BKD"]
    _, state = causal_conv1d(**case, return_state=True, backend=backend)
    assert torch.equal(state[:, 0], torch.zeros(2, 5))


def test_cut_anywhere_with_the_state_handed_on_it_is_the_whole():
    case = make_case()
    whole, last = causal_conv1d(**case, activation="silu", return_state=True)
    for cut in range(1, 20):
        pieces, state = [], case["initial_state_BKD"]
        for x in (case["x_BLD"][:, :cut], case["x_BLD"][:, cut:]):
            piece = case | {"x_BLD": x, "initial_state_BKD": state}
            y, state = causal_conv1d(**piece, activation="silu", return_state=True)
            pieces.append(y)
        assert err_ratio(torch.cat(pieces, 1), whole) < 1e-6
        assert torch.equal(state, last)


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("width", [1, 4])
def test_a_loop_of_steps_is_the_convolution(activation, width):
    case = make_case(width=width)
    whole, last = causal_conv1d(**case, activation=activation, return_state=True)
    state, outputs = case["initial_state_BKD"], []
    for x in case["x_BLD"].unbind(1):
        y, state = causal_conv1d_step(
            x, case["weight_DK"], case["bias_D"], state_BKD=state, activation=activation
        )
        outputs.append(y)
    assert err_ratio(torch.stack(outputs, 1), whole) < 1e-6
    assert torch.equal(state, last)


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_later_inputs_do_not_reach_earlier_outputs(backend):
    case = make_case()
    changed = case | {"x_BLD": case["x_BLD"].clone()}
    changed["x_BLD"][:, 11:] += 3
    before, after = (
        causal_conv1d(**case, backend=backend),
        causal_conv1d(**changed, backend=backend),
    )
    assert torch.equal(before[:, :11], after[:, :11])
    assert (before[:, 11] != after[:, 11]).all()


def test_two_runs_are_equal_bit_for_bit_and_inputs_are_left_alone():
    case = make_case(length=100, channels=33)
    copies = {name: x.clone() for name, x in case.items()}
    first = differentiate(case, backend="chunked", activation="silu")
    second = differentiate(case, backend="chunked", activation="silu")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(case[name], copies[name]) for name in case)


def test_bf16_inputs_are_accumulated_in_fp32():
    case = {name: x.bfloat16() for name, x in make_case(length=200, width=7).items()}
    y, state = causal_conv1d(**case, return_state=True)
    exact = causal_conv1d(**{name: x.double() for name, x in case.items()}, backend="reference")
    assert y.dtype == state.dtype == torch.bfloat16
    assert torch.equal(y, exact.float().bfloat16())


def test_inputs_that_are_not_contiguous_give_the_same():
    case = make_case()
    turned = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in case.items()}
    plain, found = (differentiate(c, backend="chunked") for c in (case, turned))
    assert all(err_ratio(found[name], plain[name]) < 1e-6 for name in plain)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x_BLD", (2, 20), r"x_BLD has shape \[2, 20\]; allowed is \[B, L, D\]"),
        ("weight_DK", (4, 4), r"weight_DK has shape \[4, 4\]; allowed is \[D, K\] = \[5, 4\]"),
        ("weight_DK", (5, 0), r"weight_DK has shape \[5, 0\]; allowed .* no empty dimension"),
        ("bias_D", (1,), r"bias_D has shape \[1\]; allowed is \[D\] = \[5\]"),
        ("initial_state_BKD", (2, 4, 5), r"allowed is \[B, K-1, D\] = \[2, 3, 5\]"),
    ],
)
def test_a_wrong_shape_is_named_with_what_was_allowed(name, shape, message):
    with pytest.raises(ShapeError, match=message):
        causal_conv1d(**(make_case() | {name: torch.zeros(shape)}))


def test_other_wrong_arguments_are_named_with_what_was_allowed():
    case = make_case()
    with pytest.raises(DtypeError, match=r"x_BLD has dtype torch.int64; allowed are float16"):
        causal_conv1d(**(case | {"x_BLD": case["x_BLD"].long()}))
    with pytest.raises(UnknownActivationError, match="'relu'; allowed are None and 'silu'"):
        causal_conv1d(**case, activation="relu")
    with pytest.raises(BackendUnavailableError, match="'cuda'; allowed are auto, chunked, ref"):
        causal_conv1d(**case, backend="cuda")
