"""The selective scan with checked arguments and a choice of backends.

Shapes: B batch, L time, D channel, N state.
"""

from typing import Literal, Protocol, overload

import torch

from arcfusion.kernels.checks import check_floats, check_rank, check_shape
from arcfusion.kernels.dispatch import Backend, Call, Operation, select
from arcfusion.kernels.scan.chunked import selective_scan_chunked
from arcfusion.kernels.scan.reference import selective_scan_reference


class SelectiveScan(Protocol):
    """What every backend of the scan looks like."""

    def __call__(
        self,
        u_BLD: torch.Tensor,
        dt_BLD: torch.Tensor,
        A_DN: torch.Tensor,
        B_BLN: torch.Tensor,
        C_BLN: torch.Tensor,
        D_D: torch.Tensor | None = None,
        *,
        z: torch.Tensor | None = None,
        dt_bias: torch.Tensor | None = None,
        dt_softplus: bool = False,
        h0: torch.Tensor | None = None,
        return_state: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Run the scan; see `selective_scan`."""


SCAN: Operation[SelectiveScan] = Operation(
    "selective_scan",
    (
        Backend(name="chunked", function=selective_scan_chunked),
        Backend(name="reference", function=selective_scan_reference),
    ),
)


@overload
def selective_scan(
    u_BLD: torch.Tensor,
    dt_BLD: torch.Tensor,
    A_DN: torch.Tensor,
    B_BLN: torch.Tensor,
    C_BLN: torch.Tensor,
    D_D: torch.Tensor | None = None,
    *,
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    dt_softplus: bool = False,
    h0: torch.Tensor | None = None,
    return_state: Literal[False] = False,
    backend: str = "auto",
) -> torch.Tensor: ...


@overload
def selective_scan(
    u_BLD: torch.Tensor,
    dt_BLD: torch.Tensor,
    A_DN: torch.Tensor,
    B_BLN: torch.Tensor,
    C_BLN: torch.Tensor,
    D_D: torch.Tensor | None = None,
    *,
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    dt_softplus: bool = False,
    h0: torch.Tensor | None = None,
    return_state: Literal[True],
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]: ...


def selective_scan(
    u_BLD: torch.Tensor,
    dt_BLD: torch.Tensor,
    A_DN: torch.Tensor,
    B_BLN: torch.Tensor,
    C_BLN: torch.Tensor,
    D_D: torch.Tensor | None = None,
    *,
    z: torch.Tensor | None = None,
    dt_bias: torch.Tensor | None = None,
    dt_softplus: bool = False,
    h0: torch.Tensor | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Run h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t]; y[t] = C[t] h[t] + D u[t].

    Any floating dtypes may be mixed; everything is computed in fp32, or in fp64 when any input
    is fp64. Two calls with the same inputs give the same bits, forward and backward.

    Args:
        u_BLD: input.
        dt_BLD: step size, before `dt_bias` and softplus; of any magnitude.
        A_DN: decay rates, negative; no sign is checked, since that would read values.
        B_BLN: input weights, one set for all channels.
        C_BLN: output weights, one set for all channels.
        D_D: weight of the direct path from u to y.
        z: [B, L, D]; y is multiplied by silu(z).
        dt_bias: [D], added to dt.
        dt_softplus: whether softplus is applied to dt after the bias.
        h0: [B, D, N], the state before the first step; zeros when absent.
        return_state: whether the state after the last step is returned too.
        backend: "auto" takes the first one that can run; a named one never falls back.

    Returns:
        y_BLD in the dtype of u_BLD; with `return_state`, (y_BLD, state_BDN), the state in fp32
        or fp64. Both are differentiable once.

    Raises:
        ShapeError: a rank or size differs, or the tensors are on several devices.
        DtypeError: a tensor is not floating point.
        BackendUnavailableError: the named backend can not run here.

    Source: Gu and Dao, arXiv:2312.00752.
    """
    inputs = (u_BLD, dt_BLD, A_DN, B_BLN, C_BLN, D_D)
    check_scan_arguments(*inputs, z=z, dt_bias=dt_bias, h0=h0)
    scan = select(SCAN, backend, Call(u_BLD.device.type, u_BLD.dtype)).function
    return scan(
        *inputs, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, h0=h0, return_state=return_state
    )


def check_scan_arguments(
    u_BLD: torch.Tensor,
    dt_BLD: torch.Tensor,
    A_DN: torch.Tensor,
    B_BLN: torch.Tensor,
    C_BLN: torch.Tensor,
    D_D: torch.Tensor | None,
    *,
    z: torch.Tensor | None,
    dt_bias: torch.Tensor | None,
    h0: torch.Tensor | None,
) -> None:
    """Require shapes that fit each other, floating dtypes, and one device.

    Raises:
        ShapeError: a rank or size differs, or the tensors are on several devices.
        DtypeError: a tensor is not floating point.
    """
    check_rank("u_BLD", u_BLD, "BLD")
    check_rank("A_DN", A_DN, "DN")
    sizes = dict(zip("BLDN", (*u_BLD.shape, A_DN.shape[1]), strict=True))
    others = {
        "dt_BLD": (dt_BLD, "BLD"),
        "A_DN": (A_DN, "DN"),
        "B_BLN": (B_BLN, "BLN"),
        "C_BLN": (C_BLN, "BLN"),
        "D_D": (D_D, "D"),
        "z": (z, "BLD"),
        "dt_bias": (dt_bias, "D"),
        "h0": (h0, "BDN"),
    }
    check_floats({"u_BLD": u_BLD} | {name: tensor for name, (tensor, _) in others.items()})
    for name, (tensor, letters) in others.items():
        if tensor is not None:
            check_shape(name, tensor, letters, sizes)
