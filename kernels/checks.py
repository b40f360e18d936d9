"""Validation at the border of an operation, on metadata only (no value is read).

Every message is one sentence that names the argument, what it was, and what was allowed.
Backends do not check again.
"""

from collections.abc import Mapping, Sequence

import torch

from arcfusion.kernels.errors import DtypeError, ShapeError

FLOAT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_rank(name: str, tensor: torch.Tensor, letters: str) -> None:
    """Require one dimension for each letter, such as "BLD", none of them empty.

    Raises:
        ShapeError: another rank, or an empty dimension.
    """
    if tensor.ndim != len(letters) or 0 in tensor.shape:
        wanted = ", ".join(letters)
        raise ShapeError(
            f"{name} has shape {list(tensor.shape)}; allowed is [{wanted}] with no empty dimension"
        )


def check_shape(
    name: str, tensor: torch.Tensor, letters: Sequence[str], sizes: Mapping[str, int]
) -> None:
    """Require the size in `sizes` for each of the letters (a letter may be a word: "K-1").

    Raises:
        ShapeError: another rank or size.
    """
    allowed = [sizes[letter] for letter in letters]
    if list(tensor.shape) != allowed:
        raise ShapeError(
            f"{name} has shape {list(tensor.shape)}; allowed is [{', '.join(letters)}] = {allowed}"
        )


def check_floats(tensors: Mapping[str, torch.Tensor | None]) -> None:
    """Require real floating-point tensors on one device; None stands for an absent argument.

    Raises:
        DtypeError: an integer, boolean, complex or 8-bit tensor.
        ShapeError: tensors on several devices.
    """
    devices: dict[torch.device, str] = {}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.dtype not in FLOAT_DTYPES:
            allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOAT_DTYPES)
            raise DtypeError(f"{name} has dtype {tensor.dtype}; allowed are {allowed}")
        devices.setdefault(tensor.device, name)
    if len(devices) > 1:
        places = ", ".join(f"{name} is on {device}" for device, name in devices.items())
        raise ShapeError(f"all tensors must be on one device, but {places}")
