"""The gated feed-forward block of LLaMA.

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


class SwiGLU(nn.Module):
    """Return out_proj(silu(gate_proj(x)) * up_proj(x)); hidden width F, no bias.

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.gate_proj = projection(d_model, d_hidden)
        self.up_proj = projection(d_model, d_hidden)
        self.out_proj = projection(d_hidden, d_model)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map each token by itself; any leading axes, width D last."""
        gate_BTF = nn.functional.silu(self.gate_proj(x_BTD))
        y_BTD: Tensor = self.out_proj(gate_BTF * self.up_proj(x_BTD))
        return y_BTD


class SwiGLUOptions(BlockOptions):
    """Hidden width as a multiple of the model width; rounded up to whole eights.

    8/3 gives the three maps the parameters of a two-map block of ratio 4.
    """

    ratio: float = Field(8 / 3, gt=0, le=16)

    def resolved(self, d_model: int) -> "SwiGLUOptions":
        """Return the ratio that the rounded hidden width really is."""
        return SwiGLUOptions(ratio=self.d_hidden(d_model) / d_model)

    def d_hidden(self, d_model: int) -> int:
        """Return the hidden width F, a multiple of 8."""
        return 8 * math.ceil(self.ratio * d_model / 8 - 1e-9)


def _arguments(
    options: SwiGLUOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    del surroundings
    return {"d_model": d_model, "d_hidden": options.d_hidden(d_model)}


def _count_parameters(options: SwiGLUOptions, d_model: int) -> int:
    return 3 * d_model * options.d_hidden(d_model)


COMPONENT = Component(
    name="swiglu",
    category="channel",
    description="a SiLU gate multiplies a linear map before the output map",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=SwiGLUOptions,
    factory="arcfusion.core.blocks.swiglu:SwiGLU",
    arguments=_arguments,
    count_parameters=_count_parameters,
    flops_per_token=lambda options, d_model, _context: 2.0 * _count_parameters(options, d_model),
    state_bytes=no_state,
    activation_values=lambda options, d_model: d_model + 4 * options.d_hidden(d_model),
    source="Shazeer 2020, arXiv:2002.05202",
    year=2020,
    time_complexity="O(T D F)",
    space_complexity="O(1)",
    causal=True,
    stateful=False,
)
