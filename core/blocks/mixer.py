"""What every time mixer can do: a whole sequence at once, or one token at a time."""

import torch
from torch import Tensor, nn


class Mixer(nn.Module):
    """A causal map over time with a state, so that stepping equals the whole sequence."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Map a whole sequence [B, T, D] to one of the same shape and dtype."""
        raise NotImplementedError

    def initial_state(
        self, batch_size: int, device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        """Return the state before the first token."""
        raise NotImplementedError

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Map one token [B, D]; return its output [B, D] and the next state."""
        raise NotImplementedError
