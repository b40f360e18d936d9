"""LayerNorm: subtract the mean of the features, divide by their deviation, scale and shift.

Shapes: B batch, T time, D model width.
"""

import torch
from torch import Tensor, nn

from arcfusion.core.blocks.component import BlockOptions, Component, Port, no_state, width_only

LAYERNORM_EPS = 1e-5


class LayerNorm(nn.Module):
    """y = weight * (x - mean) / sqrt(var + 1e-5) + bias; weight starts at 1, bias at 0.

    Source: Ba et al. 2016, arXiv:1607.06450.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the last axis; any leading axes."""
        return nn.functional.layer_norm(
            x_BTD, self.weight.shape, self.weight, self.bias, LAYERNORM_EPS
        )


class LayerNormOptions(BlockOptions):
    """LayerNorm has no options."""


COMPONENT = Component(
    name="layernorm",
    category="norm",
    description="subtracts the mean, divides by the deviation, scales and shifts each feature",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=LayerNormOptions,
    factory="arcfusion.core.blocks.layernorm:LayerNorm",
    arguments=width_only,
    count_parameters=lambda _options, d_model: 2 * d_model,
    flops_per_token=lambda _options, d_model, _context: 4.0 * d_model,
    state_bytes=no_state,
    activation_values=lambda _options, d_model: d_model + 2,
    source="Ba et al. 2016, arXiv:1607.06450",
    year=2016,
    time_complexity="O(T D)",
    space_complexity="O(1)",
    causal=True,
    stateful=False,
)
