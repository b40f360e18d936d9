"""AdamW, with weight decay on the matrices alone.

What is decayed follows from the built parameters and not from their names, so that two models with
one fingerprint train alike: a parameter is decayed when it has two or more dimensions, unless all
its slices along the first dimension start equal and not zero. Such a parameter is a repeated vector
(the `A_log` of a state space model, a scale for each head), not a matrix. Biases, norms and every
other one-dimensional parameter are never decayed.

The class is ours and not torch.optim.AdamW, because constructing that one imports torch._dynamo:
1.3 to 2 CPU seconds in every process that trains. It calls the same fused operation, and a test
holds it to the same bits.
"""

from collections.abc import Mapping

import torch
from torch import nn

from arcfusion.core.errors import BadInputError
from arcfusion.core.training.config import TrainingConfig

_EPSILON = 1e-8
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")

Moments = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class UntrainableModelError(BadInputError):
    """The model has no parameter that requires a gradient: there is nothing to train."""


def is_decayed(parameter: torch.Tensor) -> bool:
    """Whether weight decay applies to this parameter, judged by its initial value."""
    if parameter.ndim < 2:
        return False
    rows = parameter.detach()
    is_repeated_vector = bool((rows == rows[:1]).all()) and bool(rows.any())
    return not is_repeated_vector


class AdamW:
    """AdamW over the parameters that require a gradient.

    Source: Loshchilov and Hutter, arXiv:1711.05101.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        """Sort the parameters of a model that is at its initial weights.

        Raises:
            UntrainableModelError: no parameter requires a gradient.
        """
        self._config = config
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise UntrainableModelError
        # A call of the fused operation takes parameters of one decay, device and dtype.
        self._buckets: dict[tuple[float, torch.device, torch.dtype], list[str]] = {}
        for name, parameter in self._parameters.items():
            decay = config.weight_decay if is_decayed(parameter) else 0.0
            key = (decay, parameter.device, parameter.dtype)
            self._buckets.setdefault(key, []).append(name)
        self._moments: dict[str, Moments] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters, in the order of the model."""
        return list(self._parameters.values())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient."""
        for (decay, _, _), names in self._buckets.items():
            present = [name for name in names if self._parameters[name].grad is not None]
            if present:
                self._update(present, decay, learning_rate)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the moments by name; a parameter that has had no gradient yet has none."""
        return {
            f"{moment}.{name}": value
            for name, moments in self._moments.items()
            for moment, value in zip(_MOMENTS, moments, strict=True)
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` returned."""
        self._moments = {}
        for name in self._parameters:
            if f"step.{name}" in tensors:
                fresh = self._new_moments(name)
                for moment, value in zip(_MOMENTS, fresh, strict=True):
                    value.copy_(tensors[f"{moment}.{name}"])
                self._moments[name] = fresh

    def _new_moments(self, name: str) -> Moments:
        real = _as_real(self._parameters[name].detach())
        step = torch.zeros((), dtype=torch.float32, device=real.device)
        # The memory layout of the parameter, which the fused operation walks through.
        return step, torch.zeros_like(real), torch.zeros_like(real)

    def _update(self, names: list[str], decay: float, learning_rate: float) -> None:
        for name in names:
            if name not in self._moments:
                self._moments[name] = self._new_moments(name)
        parameters = [self._parameters[name] for name in names]
        steps, averages, squares = zip(*(self._moments[name] for name in names), strict=True)
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [_as_real(parameter) for parameter in parameters],
            [_as_real(p.grad) for p in parameters if p.grad is not None],
            averages,
            squares,
            [],
            steps,
            lr=learning_rate,
            beta1=self._config.beta1,
            beta2=self._config.beta2,
            weight_decay=decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )


def _as_real(tensor: torch.Tensor) -> torch.Tensor:
    """Return a complex tensor as its real and imaginary parts, which are updated alike."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
