"""The model under test: copies of it, and forwards that are repeatable and may fail.

B batch, T time, V vocabulary.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Mode = Literal["eval", "train"]
MODES: tuple[Mode, ...] = ("eval", "train")

# Largest difference, relative to the largest logit, that rounding explains. In float64 two routes
# to the same sum differ by about 1e-13; in fp32, with chunked scans, by up to 1e-5.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
LOW_PRECISION_TOLERANCE = 5e-2
# A parameter that starts at zero hides what lies behind it; this much noise opens it.
JITTER_FLOOR = 0.05
JITTER_RELATIVE = 0.1


class ModelFailedError(Exception):
    """The model under test raised, or gave something that is not logits [B, T, V]."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, its vocabulary and the seed of everything random in the gates.

    The model belongs to the gates: `run_gates` puts a deep copy here.
    """

    model: nn.Module
    vocab_size: int
    seed: int

    def device(self) -> torch.device:
        """Where the parameters lie; the CPU when there are none."""
        return device_of(self.model)

    def ids(self, batch_size: int, length: int, *, salt: int = 0) -> Tensor:
        """Return random ids_BT; the same arguments give the same ids."""
        source = torch.Generator().manual_seed(self.seed * 1_000_003 + salt)
        ids_BT = torch.randint(self.vocab_size, (batch_size, length), generator=source)
        return ids_BT.to(self.device())

    def other_ids(self, ids_BT: Tensor, *, salt: int) -> Tensor:
        """Return ids that differ from these at every place."""
        source = torch.Generator().manual_seed(self.seed * 1_000_003 + 7919 + salt)
        shift_BT = torch.randint(1, self.vocab_size, ids_BT.shape, generator=source)
        return (ids_BT + shift_BT.to(ids_BT.device)) % self.vocab_size

    def initial(self) -> "Probe":
        """Return the model as it was built, in its own precision."""
        return Probe(copy.deepcopy(self.model), self.vocab_size)

    def jittered(self) -> "Probe":
        """Return a copy with noise on every parameter, in float64 where the model allows that.

        A model that computes in less than float64 although its parameters are float64 (a norm that
        calls `.float()`) is judged in fp32, with the tolerance of fp32.
        """
        model = copy.deepcopy(self.model)
        _add_jitter(model, self.seed)
        double = copy.deepcopy(model).double()
        probe = Probe(double, self.vocab_size)
        watch = _PrecisionWatch()
        try:
            with watch:
                probe.forward(self.ids(2, 5))
        except ModelFailedError:
            return Probe(model, self.vocab_size)
        return Probe(model, self.vocab_size) if watch.lowered else probe


class Probe:
    """One copy of the model, run repeatably: seeded before each forward.

    In train mode buffers are put back before each forward (running statistics); in eval mode they
    stay as the model left them, so that a memory between calls is seen.
    """

    def __init__(self, model: nn.Module, vocab_size: int) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self._buffers = [
            (module, name, None if value is None else value.clone())
            for module in model.modules()
            for name, value in module._buffers.items()
        ]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the first floating parameter."""
        floating = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return next(floating, torch.float32)

    @property
    def tolerance(self) -> float:
        """Largest relative difference that rounding explains in this precision."""
        return TOLERANCE.get(self.dtype, LOW_PRECISION_TOLERANCE)

    def forward(
        self, ids_BT: Tensor, *, mode: Mode = "eval", seed: int = 0, gradient: bool = False
    ) -> Tensor:
        """Return logits_BTV of these ids.

        Raises:
            ModelFailedError: it raised, or what came back is not a floating [B, T, V].
        """
        self.model.train(mode == "train")
        if mode == "train":
            self._restore_buffers()
        _seed_generators(seed, ids_BT.device)
        shape = tuple(ids_BT.shape)
        try:
            with torch.set_grad_enabled(gradient):
                logits_BTV = self.model(ids_BT.clone())
        except Exception as error:
            raise ModelFailedError(
                f"forward of ids {list(shape)} in {mode} mode raised {describe(error)}"
            ) from error
        if not isinstance(logits_BTV, Tensor) or not logits_BTV.is_floating_point():
            raise ModelFailedError(
                f"forward gave {type(logits_BTV).__name__}, not a floating tensor"
            )
        if tuple(logits_BTV.shape) != (*shape, self.vocab_size):
            raise ModelFailedError(
                f"forward of ids {list(shape)} gave {list(logits_BTV.shape)}, "
                f"not {[*shape, self.vocab_size]}"
            )
        return logits_BTV

    def draws_random_numbers(self, ids_BT: Tensor, *, mode: Mode) -> bool:
        """Whether a forward of these ids uses torch's generator (dropout, noise)."""
        _seed_generators(0, ids_BT.device)
        before = _generator_state(ids_BT.device)
        self.forward(ids_BT, mode=mode)
        return not torch.equal(before, _generator_state(ids_BT.device))

    def _restore_buffers(self) -> None:
        for module, name, value in self._buffers:
            module._buffers[name] = None if value is None else value.clone()


def _seed_generators(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and the device's.

    Not by `torch.manual_seed`: without a started CUDA it keeps a formatted stack of every call for
    later, which took a third of the gates' time.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _generator_state(device: torch.device) -> Tensor:
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's parameters lie; the CPU when it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def describe(error: BaseException) -> str:
    """Return the error's type and first line, cut to a readable length."""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text[:200]}"


def relative_difference(a: Tensor, b: Tensor, scale: float) -> float:
    """Return max|a - b| / scale; infinite when either is not finite, 0 for nothing to compare."""
    if a.numel() == 0:
        return 0.0
    difference = (a - b).abs().max().item()
    if difference == 0.0:
        return 0.0
    if not (difference < float("inf")):
        return float("inf")
    return float(difference / max(scale, torch.finfo(a.dtype).tiny))


def is_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value in them is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def _add_jitter(model: nn.Module, seed: int) -> None:
    source = torch.Generator().manual_seed(seed + 17)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.numel():
                rms = parameter.float().square().mean().sqrt().item()
                noise = torch.randn(parameter.shape, generator=source)
                noise *= max(JITTER_RELATIVE * rms, JITTER_FLOOR)
                parameter.add_(noise.to(parameter))


class _PrecisionWatch(TorchFunctionMode):
    """Notes whether any torch function gave a floating tensor of less than 64 bits.

    A function mode, because a dispatch mode loads torch's compiler (1.3 s, and a writable /tmp).
    """

    def __init__(self) -> None:
        super().__init__()
        self.lowered = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 - torch's own
        del types
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor) and _is_lowered(value):
                self.lowered = True
        return result


def _is_lowered(value: Tensor) -> bool:
    with torch._C.DisableTorchFunction():
        return value.is_floating_point() and value.dtype.itemsize < 8
