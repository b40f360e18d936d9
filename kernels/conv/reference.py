"""Causal depthwise convolution as its definition: the truth for the other backends.

Shapes: B batch, L time, D channel, K filter width.
"""

import torch


def causal_conv1d_reference(
    x_BLD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None = None,
    *,
    initial_state_BKD: torch.Tensor | None = None,
    return_state: bool = False,
    activation: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Compute y[t] = bias + sum over k of weight[:, k] x[t - K + 1 + k], one step at a time.

    Everything is computed in fp32, or in fp64 when any input is fp64, by autograd alone.
    The arguments are those of `causal_conv1d`.
    """
    dtype = torch.float32
    for tensor in (x_BLD, weight_DK, bias_D, initial_state_BKD):
        dtype = dtype if tensor is None else torch.promote_types(dtype, tensor.dtype)
    batch, length, channels = x_BLD.shape
    width = weight_DK.shape[1]
    weight_KD = weight_DK.to(dtype).t()
    if initial_state_BKD is None:
        initial_state_BKD = x_BLD.new_zeros(batch, width - 1, channels)
    padded = torch.cat([initial_state_BKD.to(dtype), x_BLD.to(dtype)], dim=1)
    rows = padded.unbind(1)
    outputs = [(torch.stack(rows[t : t + width], dim=1) * weight_KD).sum(1) for t in range(length)]
    y = torch.stack(outputs, dim=1)
    if bias_D is not None:
        y = y + bias_D.to(dtype)
    if activation == "silu":
        y = torch.nn.functional.silu(y)
    y = y.to(x_BLD.dtype)
    return (y, padded[:, length:].to(x_BLD.dtype)) if return_state else y
