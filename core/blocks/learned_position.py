"""Learned positions: one trained vector for each position, added to the embedding.

Shapes: B batch, T time, D model width, M the longest sequence.
"""

import torch
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

POSITION_STD = 0.02


class LearnedPosition(nn.Module):
    """Add a trained vector by position; weight [M, D] starts at N(0, 0.02).

    Source: Radford et al. 2019 (GPT-2).
    """

    def __init__(self, max_seq_len: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_seq_len, d_model) * POSITION_STD)

    def forward(self, x_BTD: Tensor, offset: int = 0) -> Tensor:
        """Add the vectors of positions offset .. offset + T - 1.

        Raises:
            ValueError: the sequence is longer than the positions that were learned.
        """
        end = offset + x_BTD.shape[1]
        if end > self.weight.shape[0]:
            raise ValueError(
                f"a sequence of {end} tokens is too long: "
                f"learned positions end at max_seq_len {self.weight.shape[0]}"
            )
        return x_BTD + self.weight[offset:end]


class LearnedPositionOptions(BlockOptions):
    """How many positions are learned."""

    max_seq_len: int = Field(1024, ge=1, le=1_048_576)


def _arguments(
    options: LearnedPositionOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    del surroundings
    return {"max_seq_len": options.max_seq_len, "d_model": d_model}


COMPONENT = Component(
    name="learned",
    category="position",
    description="adds a trained vector for each position to the embedding",
    input_port=Port("B T D"),
    output_port=Port("B T D"),
    options=LearnedPositionOptions,
    factory="arcfusion.core.blocks.learned_position:LearnedPosition",
    arguments=_arguments,
    count_parameters=lambda options, d_model: options.max_seq_len * d_model,
    flops_per_token=lambda _options, d_model, _context: 1.0 * d_model,
    state_bytes=no_state,
    activation_values=lambda _options, _d_model: 0,
    source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    year=2019,
    time_complexity="O(T D)",
    space_complexity="O(M D)",
    causal=True,
    stateful=False,
)
