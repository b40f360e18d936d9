"""What the scan promises besides its values: causality, layouts, tracing, clear errors."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from arcfusion.kernels.errors import BackendUnavailableError, DtypeError, ShapeError
from arcfusion.kernels.scan import selective_scan
from arcfusion.kernels.scan.chunked import selective_scan_chunked
from arcfusion.kernels.scan.reference import selective_scan_reference
from arcfusion.kernels.testing import differentiate_scan, err_ratio, make_scan_case


def small_case(**sizes):
    return make_scan_case(
        **({"batch": 2, "length": 40, "channels": 5, "states": 4, "dt_max": 1.0, "seed": 0} | sizes)
    )


@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_later_inputs_do_not_reach_earlier_outputs(backend):
    case = small_case(length=80)
    before = selective_scan(**case, backend=backend)
    changed = dict(case)
    for name in ("u_BLD", "dt_BLD", "B_BLN", "C_BLN", "z"):
        changed[name] = case[name].clone()
        changed[name][:, 50:] += 3
    after = selective_scan(**changed, backend=backend)
    assert torch.equal(after[:, :50], before[:, :50])
    assert not torch.equal(after[:, 50:], before[:, 50:])


def test_rows_of_a_batch_do_not_reach_each_other():
    case = small_case()
    changed = case | {"u_BLD": case["u_BLD"].clone()}
    changed["u_BLD"][1] += 3
    assert torch.equal(selective_scan(**case)[0], selective_scan(**changed)[0])


def test_the_scan_is_linear_in_u_without_an_initial_state():
    case = small_case()
    case["h0"].zero_()
    doubled = case | {"u_BLD": 2 * case["u_BLD"]}
    assert torch.equal(selective_scan(**doubled), 2 * selective_scan(**case))


def test_inputs_that_are_not_contiguous_give_the_same():
    case = small_case()
    strided = {}
    for name, x in case.items():
        wide = torch.stack([x, torch.full_like(x, torch.nan)], dim=-1)
        strided[name] = wide[..., 0]
        assert not strided[name].is_contiguous()
    plain = selective_scan(**case, return_state=True)
    found = selective_scan(**strided, return_state=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
    # differentiate_scan clones, which keeps the layout of a transposed tensor.
    turned = {n: x.transpose(0, -1).contiguous().transpose(0, -1) for n, x in case.items()}
    exact = differentiate_scan(selective_scan_reference, turned)
    gradients = differentiate_scan(selective_scan_chunked, turned)
    assert all(err_ratio(gradients[name], exact[name]) < 5e-6 for name in exact)


def test_inputs_are_not_written_to():
    # A batch of one: there a chunk may be a view of the input.
    case = small_case(batch=1, length=8)
    copies = {name: x.clone() for name, x in case.items()}
    differentiate_scan(selective_scan_chunked, case, dt_softplus=True)
    selective_scan(**case, dt_softplus=True)
    leaves = {name: x.requires_grad_() for name, x in case.items()}
    selective_scan(**leaves, dt_softplus=True).sum().backward()
    assert all(torch.equal(copies[name], case[name]) for name in case)


@pytest.mark.parametrize("absent", ["D_D", "z", "dt_bias", "h0"])
def test_each_optional_argument_may_be_absent(absent):
    case = small_case()
    del case[absent]
    expected, expected_state = selective_scan(**case, return_state=True, backend="reference")
    found, state = selective_scan(**case, return_state=True, backend="chunked")
    assert err_ratio(found, expected) < 1e-6
    assert err_ratio(state, expected_state) < 1e-6


def test_only_the_inputs_that_ask_for_a_gradient_get_one():
    case = small_case()
    case["A_DN"].requires_grad_()
    selective_scan(**case).sum().backward()
    assert case["A_DN"].grad is not None
    assert case["u_BLD"].grad is None


def test_the_scan_runs_under_a_dispatch_trace():
    class Recorder(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.operations = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.operations.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    case = small_case(length=12)
    expected = selective_scan(**case)
    with Recorder() as recorder:
        traced = selective_scan(**case)
    assert torch.equal(traced, expected)
    assert {"exp2_", "addcmul_", "bmm"} <= set(recorder.operations)


def test_a_second_derivative_is_an_error_and_not_a_wrong_number():
    case = small_case()
    u = case["u_BLD"].requires_grad_()
    (gradient,) = torch.autograd.grad(selective_scan(**case).square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u_BLD", (2, 40), r"u_BLD has shape \[2, 40\]; allowed is \[B, L, D\]"),
        ("u_BLD", (2, 0, 5), r"u_BLD has shape \[2, 0, 5\]; allowed .* no empty dimension"),
        ("dt_BLD", (2, 40, 6), r"dt_BLD has shape .*; allowed is \[B, L, D\] = \[2, 40, 5\]"),
        ("A_DN", (6, 4), r"A_DN has shape .*; allowed is \[D, N\] = \[5, 4\]"),
        ("B_BLN", (2, 39, 4), r"B_BLN has shape .*; allowed is \[B, L, N\] = \[2, 40, 4\]"),
        ("C_BLN", (2, 40, 3), r"C_BLN has shape .*; allowed is \[B, L, N\] = \[2, 40, 4\]"),
        ("D_D", (4,), r"D_D has shape \[4\]; allowed is \[D\] = \[5\]"),
        ("z", (2, 40, 1), r"z has shape .*; allowed is \[B, L, D\] = \[2, 40, 5\]"),
        ("dt_bias", (1,), r"dt_bias has shape \[1\]; allowed is \[D\] = \[5\]"),
        ("h0", (2, 4, 5), r"h0 has shape .*; allowed is \[B, D, N\] = \[2, 5, 4\]"),
    ],
)
def test_a_wrong_shape_is_named_with_what_was_allowed(name, shape, message):
    with pytest.raises(ShapeError, match=message):
        selective_scan(**(small_case() | {name: torch.zeros(shape)}))


def test_an_integer_or_complex_tensor_is_named():
    case = small_case()
    with pytest.raises(DtypeError, match=r"dt_BLD has dtype torch.int64; allowed are float16, "):
        selective_scan(**(case | {"dt_BLD": case["dt_BLD"].long()}))
    with pytest.raises(DtypeError, match=r"A_DN has dtype torch\.complex64"):
        selective_scan(**(case | {"A_DN": case["A_DN"].to(torch.complex64)}))


def test_tensors_on_two_devices_are_named():
    case = small_case()
    with pytest.raises(ShapeError, match="one device, but u_BLD is on cpu, z is on meta"):
        selective_scan(**(case | {"z": case["z"].to("meta")}))


def test_an_unknown_backend_is_an_error_that_lists_the_known_ones():
    with pytest.raises(BackendUnavailableError, match="'gpu'; allowed are auto, chunked, refer"):
        selective_scan(**small_case(), backend="gpu")
