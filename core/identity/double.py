"""Run a model in float64 though it asks for less.

A model that computes its norm "in fp32" or allocates fp32 buffers in its forward would bring
rounding into the logits; under this mode each request for a smaller float is one for float64.
"""

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

from arcfusion.core.identity.mode import OperationMode

WIDER = {
    torch.float32: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float16: torch.float64,
    torch.complex64: torch.complex128,
}


class DoublePrecision(OperationMode):
    """Widens the dtypes that operations ask for, and the tensors that they read or make."""

    def call(self, operation: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the operation returns
        """Run the operation in float64."""
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(
            a.alias_info is not None and a.alias_info.is_write for a in operation._schema.arguments
        ):
            # A copy of what is written to would take the write.
            return operation(*args, **kwargs)
        args, kwargs = tree_map(_widen, (args, kwargs))
        result = operation(*args, **kwargs)
        # torch.zeros(3) names no dtype and gives the default one.
        return result if inputs else tree_map(_widen, result)


def _widen(value: object) -> object:
    if isinstance(value, torch.dtype):
        return WIDER.get(value, value)
    if isinstance(value, Tensor) and value.dtype in WIDER:
        return value.to(WIDER[value.dtype])
    return value
