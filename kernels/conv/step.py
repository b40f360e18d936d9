"""One time step of the causal depthwise convolution, for generation.

Shapes: B batch, D channel, K filter width.
"""

import torch


def causal_conv1d_step(
    x_BD: torch.Tensor,
    weight_DK: torch.Tensor,
    bias_D: torch.Tensor | None,
    *,
    state_BKD: torch.Tensor,
    activation: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convolve the K - 1 inputs of the state and the new one.

    Args:
        x_BD: input of this step.
        weight_DK: one filter a channel; its last column meets the newest input.
        bias_D: added to the output.
        state_BKD: [B, K-1, D], the inputs before this one, oldest first, zeros at first; it is
            not written to.
        activation: None or "silu".

    Returns:
        (y_BD in the dtype of x_BD, the new state in the dtype of state_BKD).
    """
    dtype = torch.promote_types(torch.promote_types(x_BD.dtype, weight_DK.dtype), torch.float32)
    window_BKD = torch.cat([state_BKD, x_BD[:, None].to(state_BKD.dtype)], dim=1)
    y = (window_BKD.to(dtype) * weight_DK.to(dtype).t()).sum(1)
    if bias_D is not None:
        y = y + bias_D.to(dtype)
    if activation == "silu":
        y = torch.nn.functional.silu(y)
    return y.to(x_BD.dtype), window_BKD[:, 1:]
