"""The chunked scan equals the reference, in values and in gradients."""

import math

import pytest
import torch

from arcfusion.kernels.scan import selective_scan, selective_scan_step
from arcfusion.kernels.scan.chunked import pick_chunk_length, selective_scan_chunked
from arcfusion.kernels.scan.reference import selective_scan_reference
from arcfusion.kernels.testing import (
    differentiate_scan,
    err_ratio,
    make_scan_case,
    make_stress_case,
    scan_errors,
)

OUTPUT_LIMIT = 1e-6
GRADIENT_LIMIT = 5e-6


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_within_limits(errors):
    for name, error in errors.items():
        limit = OUTPUT_LIMIT if name in ("y", "state") else GRADIENT_LIMIT
        # Written so that NaN fails.
        assert error <= limit, f"{name}: {error:.1e} > {limit:.0e}"


def test_the_reference_is_the_formula_written_out_in_scalars():
    case = {
        name: x.double()
        for name, x in make_scan_case(
            batch=2, length=3, channels=2, states=2, dt_max=2.0, seed=5
        ).items()
    }
    y, state = selective_scan_reference(**case, dt_softplus=True, return_state=True)
    u, dt, A, B, C, D, z, bias, h0 = (x.tolist() for x in case.values())
    for b in range(2):
        for d in range(2):
            h = list(h0[b][d])
            for t in range(3):
                step = math.log1p(math.exp(dt[b][t][d] + bias[d]))
                for n in range(2):
                    h[n] = math.exp(step * A[d][n]) * h[n] + step * B[b][t][n] * u[b][t][d]
                out = sum(C[b][t][n] * h[n] for n in range(2)) + D[d] * u[b][t][d]
                gate = z[b][t][d] / (1 + math.exp(-z[b][t][d]))
                assert y[b, t, d].item() == pytest.approx(out * gate, rel=1e-12)
            assert state[b, d].tolist() == pytest.approx(h, rel=1e-12)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000])
@pytest.mark.parametrize("dt_max", [0.1, 10.0])
@pytest.mark.parametrize("dt_softplus", [False, True])
def test_outputs_and_every_gradient_equal_the_reference(length, dt_max, dt_softplus):
    case = make_scan_case(batch=2, length=length, channels=7, states=5, dt_max=dt_max, seed=length)
    assert_within_limits(scan_errors(selective_scan_chunked, case, dt_softplus=dt_softplus))


@pytest.mark.parametrize(
    ("batch", "length", "channels", "states"),
    [(1, 17, 1, 1), (1, 70, 5, 16), (3, 16, 1, 8), (2, 33, 3, 1), (8, 9, 1024, 16), (1, 5, 3, 128)],
)
def test_odd_sizes_and_states_too_large_for_long_chunks_equal_the_reference(
    batch, length, channels, states
):
    case = make_scan_case(
        batch=batch, length=length, channels=channels, states=states, dt_max=1.0, seed=1
    )
    assert_within_limits(scan_errors(selective_scan_chunked, case))


def test_chunks_are_short_for_large_states_and_never_empty():
    assert pick_chunk_length(8 * 1024 * 16) == 4
    assert pick_chunk_length(10**9) == 4
    assert pick_chunk_length(1) == 64


def test_underflowing_decay_and_zero_steps_stay_right():
    case = make_stress_case(batch=2, length=300, channels=9, states=16, seed=0)
    underflow = torch.exp(torch.cumsum(case["dt_BLD"], 1)[:, -1, :, None] * case["A_DN"])
    assert (underflow == 0).all(), "the case must be one in which cumulative decay underflows"
    errors = scan_errors(selective_scan_chunked, case)
    assert_within_limits(errors)


def test_the_stress_case_catches_a_scan_that_divides_by_cumulative_decay():
    def divided_scan(u_BLD, dt_BLD, A_DN, B_BLN, C_BLN, D_D=None, *, z, h0, **unused):
        decay = torch.exp(torch.cumsum(dt_BLD, 1)[..., None] * A_DN).clamp_min(1e-12)
        entering = (dt_BLD * u_BLD)[..., None] * B_BLN[:, :, None]
        h = decay * (h0[:, None] + torch.cumsum(entering / decay, 1))
        y = (h * C_BLN[:, :, None]).sum(-1) + u_BLD * D_D
        return y * torch.nn.functional.silu(z), h[:, -1]

    mild = make_scan_case(batch=2, length=8, channels=3, states=4, dt_max=0.1, seed=2)
    mild["dt_bias"].zero_()
    stress = make_stress_case(batch=2, length=64, channels=3, states=4, seed=2)
    errors = []
    for case in (mild, stress):
        exact = selective_scan_reference(**case, return_state=True)
        errors.append(err_ratio(divided_scan(**case)[1], exact[1]))
    assert errors[0] < 1e-5, "the mutant is right where nothing underflows"
    assert errors[1] > 0.5, "and wrong where it does"


def test_all_steps_zero_keep_the_state_and_have_finite_gradients():
    case = make_scan_case(batch=1, length=70, channels=3, states=4, dt_max=0.0, seed=3)
    case["dt_bias"].zero_()
    found = differentiate_scan(selective_scan_chunked, case)
    assert torch.equal(found["state"], case["h0"])
    assert_within_limits(scan_errors(selective_scan_chunked, case))


def test_constant_inputs_equal_the_reference():
    case = make_scan_case(batch=2, length=130, channels=3, states=4, dt_max=1.0, seed=4)
    for name in ("u_BLD", "dt_BLD", "B_BLN", "C_BLN", "z"):
        case[name] = case[name][:, :1].expand_as(case[name]).contiguous()
    assert_within_limits(scan_errors(selective_scan_chunked, case))


def test_gradients_agree_with_finite_differences_in_fp64():
    case = make_scan_case(batch=2, length=5, channels=2, states=3, dt_max=1.0, seed=6)
    leaves = tuple(x.double().requires_grad_() for x in case.values())

    def scan(*tensors):
        arguments = dict(zip(case, tensors, strict=True))
        return selective_scan(**arguments, dt_softplus=True, return_state=True, backend="chunked")

    assert torch.autograd.gradcheck(scan, leaves)


def test_fp64_inputs_are_computed_in_fp64():
    case = make_scan_case(batch=2, length=65, channels=3, states=4, dt_max=1.0, seed=7)
    errors = scan_errors(selective_scan_chunked, {k: x.double() for k, x in case.items()})
    assert max(errors.values()) < 1e-14


def test_bf16_inputs_are_accumulated_in_fp32():
    case = make_scan_case(batch=2, length=500, channels=9, states=4, dt_max=0.2, seed=8)
    low = {name: x.bfloat16() for name, x in case.items()}
    y, state = selective_scan(**low, return_state=True)
    exact, exact_state = selective_scan_reference(
        **{name: x.double() for name, x in low.items()}, return_state=True
    )
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    # The state shows the accumulation, y only its own rounding.
    assert err_ratio(state, exact_state) < 1e-6
    assert err_ratio(y, exact) < 3e-3
    errors = scan_errors(selective_scan_chunked, low)
    assert max(errors[name] for name in case) < 8e-3


def test_bf16_activations_with_fp32_parameters_get_gradients_in_their_own_dtypes():
    case = make_scan_case(batch=2, length=70, channels=9, states=4, dt_max=0.2, seed=14)
    for name in ("u_BLD", "B_BLN", "C_BLN", "z"):
        case[name] = case[name].bfloat16()
    errors = scan_errors(selective_scan_chunked, case)
    gradients = differentiate_scan(selective_scan_chunked, case)
    assert all(gradients[name].dtype == x.dtype for name, x in case.items())
    assert max(errors[name] for name in case) < 8e-3


def test_autocast_does_not_lower_the_precision_inside():
    case = make_scan_case(batch=2, length=20, channels=5, states=4, dt_max=1.0, seed=9)
    plain = differentiate_scan(selective_scan_chunked, case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = differentiate_scan(selective_scan_chunked, case)
    assert all(torch.equal(plain[name], lowered[name]) for name in plain)


def test_two_runs_are_equal_bit_for_bit():
    case = make_scan_case(batch=3, length=150, channels=33, states=16, dt_max=1.0, seed=10)
    first = differentiate_scan(selective_scan_chunked, case)
    second = differentiate_scan(selective_scan_chunked, case)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_scan_cut_anywhere_with_its_state_handed_on_is_the_whole_scan():
    case = make_scan_case(batch=2, length=70, channels=5, states=4, dt_max=1.0, seed=11)
    timed = ("u_BLD", "dt_BLD", "B_BLN", "C_BLN", "z")
    whole, last = selective_scan(**case, return_state=True)
    for cut in (1, 2, 31, 63, 64, 65, 69):
        head = case | {name: case[name][:, :cut] for name in timed}
        first, state = selective_scan(**head, return_state=True)
        tail = case | {name: case[name][:, cut:] for name in timed} | {"h0": state}
        second, end = selective_scan(**tail, return_state=True)
        assert err_ratio(torch.cat([first, second], 1), whole) < OUTPUT_LIMIT
        assert err_ratio(end, last) < OUTPUT_LIMIT


def test_a_gradient_flows_through_the_state_from_one_piece_to_the_one_before():
    case = make_scan_case(batch=2, length=20, channels=3, states=4, dt_max=1.0, seed=12)
    u = case["u_BLD"].requires_grad_()
    timed = ("u_BLD", "dt_BLD", "B_BLN", "C_BLN", "z")
    (whole,) = torch.autograd.grad(selective_scan(**case)[:, 8:].square().sum(), u)
    head = case | {name: case[name][:, :8] for name in timed}
    _, state = selective_scan(**head, return_state=True)
    tail = case | {name: case[name][:, 8:] for name in timed} | {"h0": state}
    (pieces,) = torch.autograd.grad(selective_scan(**tail).square().sum(), u)
    assert whole[:, :8].abs().sum() > 0
    assert err_ratio(pieces, whole) < GRADIENT_LIMIT


@pytest.mark.parametrize("dt_softplus", [False, True])
def test_a_loop_of_steps_is_the_scan(dt_softplus):
    case = make_scan_case(batch=2, length=66, channels=5, states=4, dt_max=1.0, seed=13)
    whole, last = selective_scan(**case, dt_softplus=dt_softplus, return_state=True)
    state, outputs = case["h0"].clone(), []
    for t in range(66):
        y, state = selective_scan_step(
            *(case["u_BLD"][:, t], case["dt_BLD"][:, t], case["A_DN"]),
            *(case["B_BLN"][:, t], case["C_BLN"][:, t], case["D_D"]),
            state_BDN=state,
            z=case["z"][:, t],
            dt_bias=case["dt_bias"],
            dt_softplus=dt_softplus,
        )
        outputs.append(y)
    assert err_ratio(torch.stack(outputs, 1), whole) < OUTPUT_LIMIT
    assert err_ratio(state, last) < OUTPUT_LIMIT


def test_a_step_leaves_the_state_it_was_given_alone():
    state = torch.ones(1, 2, 3)
    one = torch.ones(1, 2)
    _, new = selective_scan_step(
        one, one, -torch.ones(2, 3), torch.ones(1, 3), torch.ones(1, 3), state_BDN=state
    )
    assert torch.equal(state, torch.ones(1, 2, 3))
    assert not torch.equal(new, state)
