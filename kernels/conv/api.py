"""Causal depthwise convolution with checked arguments and a choice of backends.

Shapes: B batch, L time, D channel, K filter width.
"""

from typing import Literal, Protocol, overload

import torch

from arcfusion.kernels.checks import check_floats, check_rank, check_shape
from arcfusion.kernels.conv.chunked import causal_conv1d_chunked
from arcfusion.kernels.conv.reference import causal_conv1d_reference
from arcfusion.kernels.dispatch import Backend, Call, Operation, select
from arcfusion.kernels.errors import KernelError


class UnknownActivationError(KernelError, ValueError):
    """The activation is not one that the convolution applies."""


class CausalConv1d(Protocol):
    """What every backend of the convolution looks like."""

    def __call__(
        self,
        x_BLD: torch.Tensor,
        weight_DK: torch.Tensor,
        bias_D: torch.Tensor | None = None,
        *,
        initial_state_BKD: torch.Tensor | None = None,
        return_state: bool = False,
        activation: str | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Run the convolution; see `causal_conv1d`."""


CONV: Operation[CausalConv1d] = Operation(
    "causal_conv1d",
    (
        Backend(name="chunked", function=causal_conv1d_chunked),
        Backend(name="reference", function=causal_conv1d_reference),
    ),
)


@overload
def causal_conv1d(
    x_BLD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None = None,
    *,
    initial_state_BKD: torch.Tensor | None = None,
    return_state: Literal[False] = False,
    activation: str | None = None,
    backend: str = "auto",
) -> torch.Tensor: ...


@overload
def causal_conv1d(
    x_BLD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None = None,
    *,
    initial_state_BKD: torch.Tensor | None = None,
    return_state: Literal[True],
    activation: str | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]: ...


def causal_conv1d(
    x_BLD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None = None,
    *,
    initial_state_BKD: torch.Tensor | None = None,
    return_state: bool = False,
    activation: str | None = None,
    backend: str = "auto",
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Compute y[t] = bias + sum over k of weight[:, k] x[t - K + 1 + k], for each channel.

    Any floating dtypes may be mixed; everything is computed in fp32, or in fp64 when any input
    is fp64. Two calls with the same inputs give the same bits, forward and backward.

    Args:
        x_BLD: input.
        weight_DK: one filter a channel; its last column meets the newest input.
        bias_D: added to the output.
        initial_state_BKD: [B, K-1, D], the inputs before t = 0, oldest first; zeros when absent.
        return_state: whether the last K - 1 inputs are returned too.
        activation: None or "silu", applied last.
        backend: "auto" takes the first one that can run; a named one never falls back.

    Returns:
        y_BLD in the dtype of x_BLD; with `return_state`, (y_BLD, state_BKD), the state of shape
        [B, K-1, D] in the dtype of x_BLD. Both are differentiable once.

    Raises:
        ShapeError: a rank or size differs, or the tensors are on several devices.
        DtypeError: a tensor is not floating point.
        UnknownActivationError: `activation` is neither None nor "silu".
        BackendUnavailableError: the named backend can not run here.
    """
    check_conv_arguments(x_BLD, weight_DK, bias_D, initial_state_BKD)
    if activation not in (None, "silu"):
        raise UnknownActivationError(f"activation is {activation!r}; allowed are None and 'silu'")
    convolve = select(CONV, backend, Call(x_BLD.device.type, x_BLD.dtype)).function
    return convolve(
        x_BLD,
        weight_DK,
        bias_D,
        initial_state_BKD=initial_state_BKD,
        return_state=return_state,
        activation=activation,
    )


def check_conv_arguments(
    x_BLD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None,
    initial_state_BKD: torch.Tensor | None,
) -> None:
    """Require shapes that fit each other, floating dtypes, and one device.

    Raises:
        ShapeError: a rank or size differs, or the tensors are on several devices.
        DtypeError: a tensor is not floating point.
    """
    check_floats(
        {
            "x_BLD": x_BLD,
            "weight_DK": weight_DK,
            "bias_D": bias_D,
            "initial_state_BKD": initial_state_BKD,
        }
    )
    check_rank("x_BLD", x_BLD, "BLD")
    check_rank("weight_DK", weight_DK, "DK")
    width = weight_DK.shape[1]
    sizes = {"B": len(x_BLD), "D": x_BLD.shape[2], "K": width, "K-1": width - 1}
    check_shape("weight_DK", weight_DK, "DK", sizes)
    if bias_D is not None:
        check_shape("bias_D", bias_D, "D", sizes)
    if initial_state_BKD is not None:
        check_shape("initial_state_BKD", initial_state_BKD, ("B", "K-1", "D"), sizes)
