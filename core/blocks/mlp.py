"""The GELU feed-forward block of GPT-2, without bias.

Shapes: B batch, T time, D model width, F hidden width.
"""

import math

from pydantic import Field
from torch import Tensor, nn

from arcfusion.core.blocks.component import (
    Argument,
    BlockOptions,
    Component,
    Port,
    Surroundings,
    no_state,
)
from arcfusion.core.blocks.projection import projection


class MLP(nn.Module):
    """Return out_proj(gelu(up_proj(x))); hidden width F.

    Source: Vaswani et al. 2017, arXiv:1706.03762; GELU Hendrycks and Gimpel 2016,
    arXiv:1606.08415.
    """

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.up_proj = projection(d_model, d_hidden)
        self.out_proj = projection(d_hidden, d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map each token by itself; any leading axes, width D last."""
        y_BTD: Tensor = self.out_proj(nn.functional.gelu(self.up_proj(x_BTD)))
        return y_BTD


class MLPOptions(BlockOptions):
    """Hidden width as a multiple of the model width; rounded up to whole eights."""

    ratio: float = Field(4.0, gt=0, le=16)

    def resolved(self, d_model: int) -> "MLPOptions":
        """Return the ratio that the rounded hidden width really is."""
        return MLPOptions(ratio=self.d_hidden(d_model) / d_model)

    def d_hidden(self, d_model: int) -> int:
        """Return the hidden width F, a multiple of 8."""
        return 8 * math.ceil(self.ratio * d_model / 8 - 1e-9)


def _arguments(
    options: MLPOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    del surroundings
    return {"d_model": d_model, "d_hidden": options.d_hidden(d_model)}


def _count_parameters(options: MLPOptions, d_model: int) -> int:
    return 2 * d_model * options.d_hidden(d_model)


COMPONENT = Component(
    name="mlp",
    category="channel",
    description="two linear maps with GELU between them",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=MLPOptions,
    factory="arcfusion.core.blocks.mlp:MLP",
    arguments=_arguments,
    count_parameters=_count_parameters,
    flops_per_token=lambda options, d_model, _context: 2.0 * _count_parameters(options, d_model),
    state_bytes=no_state,
    activation_values=lambda options, d_model: d_model + 2 * options.d_hidden(d_model),
    source="Vaswani et al. 2017, arXiv:1706.03762",
    year=2017,
    time_complexity="O(T D F)",
    space_complexity="O(1)",
    causal=True,
    stateful=False,
)
