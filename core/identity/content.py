"""What the numbers in a tensor say, and deterministic numbers to put into one.

Floating-point content is named by a few projections, rounded: two machines that differ in the last
bit of a cosine still agree (all but about 1 time in 100), while one flipped entry of a mask with
a million entries shows.
"""

import hashlib

import torch
from torch import Tensor

PROJECTIONS = 3
CONTENT_DIGITS = 5
PERTURBATION = 0.05


def content_name(tensor: Tensor) -> str:
    """Return shape, dtype and a hash of the values: exact for integers, rounded for floats."""
    values = tensor.detach().cpu()
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    if values.is_floating_point():
        described = project(values, PROJECTIONS, CONTENT_DIGITS)
    else:
        data = values.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        described = hashlib.blake2b(data, digest_size=16).hexdigest()
    return f"{list(tensor.shape)} {tensor.dtype} {described}"


def project(values: Tensor, n_projections: int, digits: int) -> str:
    """Describe floats by their norm and by projections on fixed random signs, both rounded.

    Args:
        values: any shape; not-finite values are counted and then left out.
        n_projections: how many directions, up to 14.
        digits: decimal digits kept, relative to the norm.
    """
    flat = values.reshape(-1).to(torch.float64)
    finite = torch.isfinite(flat)
    n_odd = [int((flat == torch.inf).sum()), int((flat == -torch.inf).sum()), int((~finite).sum())]
    flat = torch.where(finite, flat, 0.0)
    norm = float(flat.norm())
    parts = [f"{norm:.{digits - 1}e}"]
    generator = torch.Generator().manual_seed(flat.numel())
    bits = torch.randint(0, 1 << n_projections, flat.shape, generator=generator, dtype=torch.int16)
    for index in range(n_projections):
        is_plus = ((bits >> index) & 1).bool()
        along = float(torch.where(is_plus, flat, -flat).sum()) / (norm or 1.0)
        # + 0.0 turns a rounded -0.0 into 0.0.
        parts.append(f"{round(along, digits) + 0.0:.{digits}f}")
    return " ".join([*parts, *map(str, n_odd)])


def pattern_name(parameter: Tensor) -> str | None:
    """Name the values of a parameter that was not drawn at random; None when it was.

    Not random are: all values equal; the same values again along an axis (such as Mamba's A_log); a
    single number that four decimal digits write exactly, such as 0.3.
    """
    values = parameter.detach()
    if values.numel() == 0:
        return "empty"
    first = values.reshape(-1)[0]
    if values.numel() == 1:
        short = f"{float(first.real):.4g}"
        is_short = bool(torch.tensor(float(short), dtype=values.dtype) == first.cpu())
        return f"constant {short}" if is_short else None
    if _are_all_equal(values, first):
        return f"constant {first.item():.6g}"
    for axis, size in enumerate(values.shape):
        slice_0 = values.narrow(axis, 0, 1)
        if size > 1 and _are_all_equal(values, slice_0):
            return f"repeated {axis} {content_name(slice_0)}"
    return None


def _are_all_equal(values: Tensor, pattern: Tensor) -> bool:
    # The corner decides for nearly every random tensor, however large it is.
    corner = tuple(slice(0, 2) for _ in values.shape)
    pattern = pattern.expand(values.shape)
    return torch.equal(values[corner], pattern[corner]) and torch.equal(values, pattern)


def refill(parameter: Tensor, name: str, *, is_pattern: bool) -> None:
    """Overwrite a parameter with numbers that depend on the name and the shape alone.

    A pattern is kept and perturbed a little, so that a part behind a zero gate shows too.
    """
    seed = int(hashlib.blake2b(name.encode(), digest_size=7).hexdigest(), 16)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(parameter.shape, generator=generator).mul_(2).sub_(1)
    with torch.no_grad():
        if is_pattern:
            parameter.add_(noise.mul_(PERTURBATION).to(parameter.dtype))
        else:
            fan_in = parameter.shape[-1] if parameter.ndim > 1 else 4
            parameter.copy_(noise.mul_((3.0 / fan_in) ** 0.5))
