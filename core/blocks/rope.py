"""Rotary position embedding: queries and keys are rotated by their position.

Shapes: B batch, H heads, T time, K head width (even).
"""

import torch
from torch import Tensor

from arcfusion.core.blocks.component import BlockOptions, Component, Port, no_state

ROPE_BASE = 10_000.0


def apply_rope(x_BHTK: Tensor, offset: int = 0) -> Tensor:
    """Rotate the pairs (k, k + K/2) of each head by (offset + t) * base ** (-2k/K).

    Args:
        x_BHTK: queries or keys; K is even. Angles are computed in at least fp32.
        offset: the position of the first token.

    Returns:
        The rotated tensor, same shape and dtype.

    Source: Su et al. 2021, arXiv:2104.09864.
    """
    n_tokens, head_dim = x_BHTK.shape[-2:]
    dtype = torch.promote_types(x_BHTK.dtype, torch.float32)
    device = x_BHTK.device
    exponent = torch.arange(0, head_dim, 2, device=device, dtype=dtype) / head_dim
    time_T = torch.arange(offset, offset + n_tokens, device=device, dtype=dtype)
    angle_TK = time_T[:, None] * ROPE_BASE**-exponent
    cos_TK, sin_TK = angle_TK.cos().to(x_BHTK.dtype), angle_TK.sin().to(x_BHTK.dtype)
    first, second = x_BHTK.chunk(2, dim=-1)
    return torch.cat((first * cos_TK - second * sin_TK, first * sin_TK + second * cos_TK), dim=-1)


class RopeOptions(BlockOptions):
    """Rotary positions have no options."""


COMPONENT = Component(
    name="rope",
    category="position",
    description="rotates queries and keys by their position; attention mixers apply it",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=RopeOptions,
    factory="arcfusion.core.blocks.rope:apply_rope",
    arguments=lambda _options, _d_model, _surroundings: {},
    count_parameters=lambda _options, _d_model: 0,
    flops_per_token=lambda _options, d_model, _context: 6.0 * d_model,
    state_bytes=no_state,
    activation_values=lambda _options, d_model: 2 * d_model,
    source="Su et al. 2021, arXiv:2104.09864",
    year=2021,
    time_complexity="O(T D)",
    space_complexity="O(1)",
    causal=True,
    stateful=False,
)
