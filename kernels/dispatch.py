"""Which implementation of an operation runs.

An operation is a name and its backends, fastest first: the order is data, kept where the
operation is defined. "auto" takes the first backend that is available and supports the call;
a named backend runs or raises, and is never replaced by another one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch

from arcfusion.kernels.errors import BackendUnavailableError

F = TypeVar("F", bound=Callable[..., object])


class Support(NamedTuple):
    """Whether a backend can run, and if not, why."""

    ok: bool
    why: str


class Call(NamedTuple):
    """What a backend may look at to decide: metadata, never values."""

    device_type: str
    dtype: torch.dtype


def always_available() -> Support:
    """Say that nothing besides torch is needed."""
    return Support(ok=True, why="needs torch alone")


def any_call(call: Call) -> Support:
    """Say that every device and every floating dtype will do."""
    return Support(ok=True, why=f"runs on {call.device_type} in {call.dtype}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(Generic[F]):
    """One implementation of an operation.

    Attributes:
        name: what a caller writes in `backend=`.
        function: the implementation; it does not check its arguments.
        is_available: whether this machine has what the backend needs.
        supports: whether the backend computes such a call; pure on metadata.
    """

    name: str
    function: F
    is_available: Callable[[], Support] = always_available
    supports: Callable[[Call], Support] = any_call


@dataclass(frozen=True, slots=True)
class Operation(Generic[F]):
    """An operation and its backends, fastest first."""

    name: str
    backends: tuple[Backend[F], ...]


def judge(backend: Backend[F], call: Call) -> Support:
    """Tell whether the backend can run the call here, and why (not)."""
    available = backend.is_available()
    return backend.supports(call) if available.ok else available


def select(operation: Operation[F], backend: str, call: Call) -> Backend[F]:
    """Choose the backend that runs a call.

    Args:
        operation: the operation that is called.
        backend: "auto", or the name of one of its backends.
        call: the call's metadata.

    Raises:
        BackendUnavailableError: no backend has that name, or the named one (with "auto": every
            one) can not run the call here.
    """
    if backend == "auto":
        candidates = operation.backends
    else:
        candidates = tuple(b for b in operation.backends if b.name == backend)
    if not candidates:
        names = ", ".join(["auto", *(b.name for b in operation.backends)])
        raise BackendUnavailableError(
            f"{operation.name} has no backend {backend!r}; allowed are {names}"
        )
    reasons = []
    for candidate in candidates:
        support = judge(candidate, call)
        if support.ok:
            return candidate
        reasons.append(f"{candidate.name} {support.why}")
    raise BackendUnavailableError(
        f"{operation.name} can not run on {call.device_type} in {call.dtype}: {'; '.join(reasons)}"
    )


def explain(operation: Operation[F], call: Call) -> str:
    """Describe each backend in order, and mark the one that "auto" takes for the call."""
    lines = [f"{operation.name} on {call.device_type} in {call.dtype}:"]
    is_chosen = False
    for backend in operation.backends:
        support = judge(backend, call)
        mark = "*" if support.ok and not is_chosen else " "
        is_chosen = is_chosen or support.ok
        lines.append(f"{mark} {backend.name}: {'yes' if support.ok else 'no'}, {support.why}")
    return "\n".join(lines)
