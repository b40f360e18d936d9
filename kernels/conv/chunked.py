"""Causal depthwise convolution as shifted multiply-adds, plain torch, with its own backward.

Shapes: B batch, L time, D channel, K filter width.

For filters of a few taps this beats `conv1d(groups=D)` in training on CPU, and needs no
transposes. Nothing is padded: each tap adds the input, shifted, to the output, and the inputs
before t = 0 come from the state.

Only torch is imported here: generated model files carry a copy of this source.
"""

import torch


class ConvContext(torch.autograd.function.FunctionCtx):
    """What the forward leaves for the backward, typed."""

    saved_tensors: tuple[torch.Tensor, ...]


class ShiftedConv(torch.autograd.Function):
    """The convolution without bias; all arguments in the dtype of accumulation."""

    @staticmethod
    def forward(
        ctx: ConvContext, x_BLD: torch.Tensor, weight_DK: torch.Tensor, state_BKD: torch.Tensor
    ) -> torch.Tensor:
        """Return y_BLD."""
        ctx.save_for_backward(x_BLD, weight_DK, state_BKD)
        weight_KD = weight_DK.t().contiguous()
        length, width = x_BLD.shape[1], len(weight_KD)
        y_BLD = x_BLD * weight_KD[-1]
        for shift in range(1, width):
            tap_D = weight_KD[width - 1 - shift]
            # The first steps reach back into the state; at most all of them do.
            reach = min(shift, length)
            first = width - 1 - shift
            y_BLD[:, :reach].addcmul_(state_BKD[:, first : first + reach], tap_D)
            y_BLD[:, reach:].addcmul_(x_BLD[:, : length - reach], tap_D)
        return y_BLD

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: ConvContext, dy_BLD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the gradients of x, weight and state; a second derivative is an error."""
        x_BLD, weight_DK, state_BKD = ctx.saved_tensors
        weight_KD = weight_DK.t().contiguous()
        length, width = x_BLD.shape[1], len(weight_KD)
        dx_BLD = dy_BLD * weight_KD[-1]
        dweight_KD = torch.empty_like(weight_KD)
        dweight_KD[-1] = (dy_BLD * x_BLD).sum((0, 1))
        dstate_BKD = torch.zeros_like(state_BKD)
        for shift in range(1, width):
            tap_D = weight_KD[width - 1 - shift]
            reach = min(shift, length)
            first = width - 1 - shift
            early, late = dy_BLD[:, :reach], dy_BLD[:, reach:]
            dstate_BKD[:, first : first + reach].addcmul_(early, tap_D)
            dx_BLD[:, : length - reach].addcmul_(late, tap_D)
            dtap_D = (early * state_BKD[:, first : first + reach]).sum((0, 1))
            dweight_KD[first] = dtap_D + (late * x_BLD[:, : length - reach]).sum((0, 1))
        return dx_BLD, dweight_KD.t(), dstate_BKD


def causal_conv1d_chunked(
    x_BLD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None = None,
    *,
    initial_state_BKD: torch.Tensor | None = None,
    return_state: bool = False,
    activation: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Compute y[t] = bias + sum over k of weight[:, k] x[t - K + 1 + k].

    Args:
        x_BLD: input.
        weight_DK: one filter a channel; its last column meets the newest input.
        bias_D: added to the output.
        initial_state_BKD: [B, K-1, D], the inputs before t = 0, oldest first; zeros when absent.
        return_state: whether the last K - 1 inputs are returned too.
        activation: None or "silu".

    Returns:
        y_BLD in the dtype of x_BLD; with `return_state`, (y_BLD, state_BKD). Accumulated in
        fp32, or in fp64 when any input is fp64. Differentiable once.
    """
    dtype = torch.float32
    for tensor in (x_BLD, weight_DK, bias_D, initial_state_BKD):
        dtype = dtype if tensor is None else torch.promote_types(dtype, tensor.dtype)
    batch, length, channels = x_BLD.shape
    before = weight_DK.shape[1] - 1
    if initial_state_BKD is None:
        initial_state_BKD = x_BLD.new_zeros(batch, before, channels)
    state_BKD = initial_state_BKD.to(dtype)
    y_BLD: torch.Tensor = ShiftedConv.apply(  # type: ignore[no-untyped-call]  # torch's own
        x_BLD.to(dtype), weight_DK.to(dtype), state_BKD
    )
    if bias_D is not None:
        y_BLD = y_BLD + bias_D.to(dtype)
    if activation == "silu":
        y_BLD = torch.nn.functional.silu(y_BLD)
    y_BLD = y_BLD.to(x_BLD.dtype)
    if not return_state:
        return y_BLD
    kept = max(0, before - length)
    last_BKD = x_BLD[:, max(0, length - before) :]
    return y_BLD, torch.cat(
        [initial_state_BKD[:, before - kept :].to(x_BLD.dtype), last_BKD], dim=1
    )
