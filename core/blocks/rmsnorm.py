"""RMSNorm: divide by the root mean square of the features, then scale each.

Shapes: B batch, T time, D model width.
"""

import torch
from torch import Tensor, nn

from arcfusion.core.blocks.component import BlockOptions, Component, Port, no_state, width_only

RMSNORM_EPS = 1e-6


class RMSNorm(nn.Module):
    """y = weight * x / sqrt(mean(x^2) + 1e-6); weight starts at 1.

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the last axis; any leading axes."""
        return nn.functional.rms_norm(x_BTD, self.weight.shape, self.weight, RMSNORM_EPS)


class RMSNormOptions(BlockOptions):
    """RMSNorm has no options."""


COMPONENT = Component(
    name="rmsnorm",
    category="norm",
    description="divides by the root mean square of the features and scales each",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=RMSNormOptions,
    factory="arcfusion.core.blocks.rmsnorm:RMSNorm",
    arguments=width_only,
    count_parameters=lambda _options, d_model: d_model,
    flops_per_token=lambda _options, d_model, _context: 4.0 * d_model,
    state_bytes=no_state,
    activation_values=lambda _options, d_model: d_model + 1,
    source="Zhang and Sennrich 2019, arXiv:1910.07467",
    year=2019,
    time_complexity="O(T D)",
    space_complexity="O(1)",
    causal=True,
    stateful=False,
)
