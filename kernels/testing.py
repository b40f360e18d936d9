"""How the backends of the scan are held to its reference: cases, gradients, and one error.

Shapes: B batch, L time, D channel, N state.
"""

import math
from collections.abc import Mapping

import torch

from arcfusion.kernels.scan.api import SelectiveScan
from arcfusion.kernels.scan.reference import selective_scan_reference


def err_ratio(x: torch.Tensor, reference: torch.Tensor) -> float:
    """Compute rms(x - reference) / rms(reference) in fp64.

    Where the reference is zero everywhere: 0 when x is too, else infinity. NaN stays NaN.
    """
    truth = reference.detach().double()
    error = (x.detach().double() - truth).square().mean().sqrt().item()
    scale = truth.square().mean().sqrt().item()
    if scale == 0:
        return 0.0 if error == 0 else error * math.inf
    return error / scale


def make_scan_case(
    *, batch: int, length: int, channels: int, states: int, dt_max: float, seed: int
) -> dict[str, torch.Tensor]:
    """Draw every tensor argument of a scan, by name, in fp32.

    dt is uniform in [0, dt_max] and the decay rates are about -1 ... -N. The biases lie in
    [0, 0.1], so that no step is negative without softplus either.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    rates = torch.arange(1, states + 1, dtype=torch.float32)
    return {
        "u_BLD": normal(batch, length, channels),
        "dt_BLD": uniform(batch, length, channels) * dt_max,
        "A_DN": -rates * (0.5 + uniform(channels, 1)),
        "B_BLN": normal(batch, length, states),
        "C_BLN": normal(batch, length, states),
        "D_D": normal(channels),
        "z": normal(batch, length, channels),
        "dt_bias": uniform(channels) * 0.1,
        "h0": normal(batch, channels, states),
    }


def make_stress_case(
    *, batch: int, length: int, channels: int, states: int, seed: int
) -> dict[str, torch.Tensor]:
    """Draw inputs whose cumulative decay underflows, and steps of size exactly zero.

    dt = softplus(3 randn), ten times the usual rates, every fifth step zero.
    """
    case = make_scan_case(
        batch=batch, length=length, channels=channels, states=states, dt_max=1.0, seed=seed
    )
    generator = torch.Generator().manual_seed(seed + 1)
    raw = torch.randn(case["dt_BLD"].shape, generator=generator)
    dt = torch.nn.functional.softplus(3 * raw)
    dt[:, ::5] = 0
    return case | {
        "dt_BLD": dt,
        "A_DN": case["A_DN"] * 10,
        "dt_bias": torch.zeros_like(case["dt_bias"]),
    }


def differentiate_scan(
    function: SelectiveScan, case: Mapping[str, torch.Tensor], *, dt_softplus: bool = False
) -> dict[str, torch.Tensor]:
    """Run a scan forward and backward, through the output and through the returned state.

    Returns:
        "y", "state", and the gradient of each argument under the argument's name.
    """
    leaves = {name: x.detach().clone().requires_grad_() for name, x in case.items()}
    result = function(**leaves, dt_softplus=dt_softplus, return_state=True)
    assert isinstance(result, tuple)
    y, state = result
    # Different everywhere but of one sign, so that constant inputs do not cancel; made in fp32,
    # so that they have the same bits for each dtype of y.
    weights = tuple(
        torch.arange(x.numel(), dtype=torch.float32).sin().add(1.5).view_as(x).to(x.dtype)
        for x in (y, state)
    )
    gradients = torch.autograd.grad((y, state), tuple(leaves.values()), weights)
    return {"y": y.detach(), "state": state.detach(), **dict(zip(leaves, gradients, strict=True))}


def scan_errors(
    function: SelectiveScan, case: Mapping[str, torch.Tensor], *, dt_softplus: bool = False
) -> dict[str, float]:
    """Compute the err_ratio of outputs and gradients against the reference in fp64."""
    exact = {name: x.double() for name, x in case.items()}
    truth = differentiate_scan(selective_scan_reference, exact, dt_softplus=dt_softplus)
    found = differentiate_scan(function, case, dt_softplus=dt_softplus)
    return {name: err_ratio(found[name], truth[name]) for name in truth}
