"""Everything that the rest of a training depends on, as tensors and JSON, and back.

That is the model's parameters and buffers, AdamW's moments, and the random number generators of
torch, Python and numpy. The place in the data and the learning rate follow from the step.
"""

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from arcfusion.core.errors import ArcFusionError, BadInputError
from arcfusion.core.training.checkpoint import Json
from arcfusion.core.training.optimizer import AdamW

_MODEL, _BUFFER, _OPTIMIZER = "model.", "buffer.", "optimizer."
_TORCH_RNG = "rng.torch"
_CUDA_RNG = "rng.cuda"


class ForeignStateError(BadInputError):
    """The checkpoint is of another model."""


class UnsavableModelError(ArcFusionError):
    """The model keeps state that is not a tensor; a checkpoint can not hold it."""


def model_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict.

    Raises:
        UnsavableModelError: it holds something that is not a tensor.
    """
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise UnsavableModelError(f"the state {name!r} of the model is not a tensor")
    return dict(state)


def training_tensors(model: nn.Module, optimizer: AdamW) -> dict[str, torch.Tensor]:
    """Return model, moments and torch's generators, by name."""
    parts = {
        _MODEL: model_tensors(model),
        _BUFFER: _volatile_buffers(model),
        _OPTIMIZER: optimizer.tensors(),
    }
    tensors = {p + name: value for p, part in parts.items() for name, value in part.items()}
    tensors[_TORCH_RNG] = torch.get_rng_state()
    if _uses_cuda(model):
        tensors[_CUDA_RNG] = torch.cuda.get_rng_state()
    return tensors


def restore_training(
    model: nn.Module, optimizer: AdamW, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put back what `training_tensors` returned.

    Raises:
        ForeignStateError: the names or shapes are not this model's.
    """
    restore_model(model, _select(tensors, _MODEL))
    with torch.no_grad():
        for name, buffer in _volatile_buffers(model).items():
            buffer.copy_(tensors[_BUFFER + name])
    optimizer.restore(_select(tensors, _OPTIMIZER))
    torch.set_rng_state(tensors[_TORCH_RNG])
    if _uses_cuda(model) and _CUDA_RNG in tensors:
        torch.cuda.set_rng_state(tensors[_CUDA_RNG])


def restore_model(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Load weights, all of them and no others.

    Raises:
        ForeignStateError: the names or shapes are not this model's.
    """
    try:
        model.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise ForeignStateError(f"the checkpoint is of another model: {error}") from error


def seed_generators(seed: int) -> None:
    """Seed the generators of torch, Python and numpy, as model code may use each of them."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def capture_generators() -> dict[str, Json]:
    """Return the state of Python's and numpy's generators; torch's are among the tensors."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(name),
            np.asarray(keys).tolist(),
            int(position),
            int(has_gauss),
            float(cached),
        ],
    }


def restore_generators(captured: Mapping[str, Json]) -> None:
    """Put back what `capture_generators` returned."""
    # Any: the shape of the JSON is what capture_generators made.
    python: Any = captured["python"]
    numpy: Any = captured["numpy"]
    version, internal, gauss = python
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = numpy
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


@contextlib.contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Undo at the end what happens to the generators, the buffers and the training mode."""
    generators, torch_rng = capture_generators(), torch.get_rng_state()
    cuda_rng = torch.cuda.get_rng_state() if _uses_cuda(model) else None
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    try:
        yield
    finally:
        model.train(was_training)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
        restore_generators(generators)
        torch.set_rng_state(torch_rng)
        if cuda_rng is not None:
            torch.cuda.set_rng_state(cuda_rng)


def model_device(model: nn.Module) -> torch.device:
    """Return the device of the first parameter; the CPU when there is none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _uses_cuda(model: nn.Module) -> bool:
    return model_device(model).type == "cuda"


def _select(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _volatile_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that are not in the state dict."""
    persistent = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in persistent}
