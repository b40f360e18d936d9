"""The linear map that the blocks are made of, with GPT-2's initialisation."""

from torch import nn

PROJECTION_STD = 0.02


def projection(d_in: int, d_out: int) -> nn.Linear:
    """Return a linear map without bias, weights N(0, 0.02).

    Source: Radford et al. 2019 (GPT-2).
    """
    linear = nn.Linear(d_in, d_out, bias=False)
    nn.init.normal_(linear.weight, std=PROJECTION_STD)
    return linear
