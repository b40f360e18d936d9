"""What one training is told: a value that is validated once and travels as JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, Self, get_args

from arcfusion.core.errors import BadInputError

Precision = Literal["fp32", "bf16"]

_INTEGERS_AND_MINIMA = {
    "steps": 1,
    "batch_size": 1,
    "context": 1,
    "warmup_steps": 0,
    "accumulation": 1,
    "validate_every": 0,
    "checkpoint_every": 0,
    "keep_checkpoints": 2,
    "threads": 1,
}
_NUMBERS = ("lr_peak", "lr_min", "weight_decay", "beta1", "beta2", "grad_clip")


class TrainingConfigError(BadInputError):
    """The training configuration is not one that can be trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """One training's settings.

    Attributes:
        steps: optimizer steps.
        batch_size: sequences that one optimizer step sees, over all micro-batches.
        context: tokens in a sequence.
        lr_peak: learning rate after the warm-up, > 0.
        lr_min: learning rate of the last step, in [0, lr_peak].
        warmup_steps: steps of linear warm-up, at most `steps`.
        weight_decay: decoupled decay of matrices; `optimizer` says what counts as one.
        beta1: decay of AdamW's first moment, in [0, 1).
        beta2: decay of AdamW's second moment, in [0, 1).
        grad_clip: largest global gradient norm (L2); 0 does not clip.
        accumulation: micro-batches that a batch is cut into; it must divide `batch_size`. It
            changes the memory that a step needs, not what the step computes.
        precision: "bf16" runs the forward pass under autocast; weights and loss stay fp32.
        validate_every: steps between validations; 0 validates at the end alone.
        checkpoint_every: steps between checkpoints; 0 writes the final one alone.
        keep_checkpoints: newest step checkpoints that are kept, >= 2: the newest may be damaged.
        threads: CPU threads of one operation. It is part of the protocol: a sum over two threads
            rounds differently from a sum over one.

    Raises:
        TrainingConfigError: a value is outside what is stated here.
    """

    steps: int
    batch_size: int
    context: int
    lr_peak: float
    lr_min: float = 0.0
    warmup_steps: int = 0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0
    accumulation: int = 1
    precision: Precision = "fp32"
    validate_every: int = 0
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    threads: int = 1

    def __post_init__(self) -> None:
        for name, minimum in _INTEGERS_AND_MINIMA.items():
            _check_integer(name, getattr(self, name), minimum)
        for name in _NUMBERS:
            _check_number(name, getattr(self, name))
        if self.precision not in get_args(Precision):
            raise TrainingConfigError(
                f"precision is {self.precision!r}: allowed are {', '.join(get_args(Precision))}"
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        requirements = [
            (self.lr_peak > 0, "lr_peak", "> 0"),
            (self.lr_min <= self.lr_peak, "lr_min", f"in [0, lr_peak = {self.lr_peak!r}]"),
            (self.warmup_steps <= self.steps, "warmup_steps", f"at most steps = {self.steps}"),
            (self.beta1 < 1, "beta1", "in [0, 1)"),
            (self.beta2 < 1, "beta2", "in [0, 1)"),
            (
                self.batch_size % self.accumulation == 0,
                "accumulation",
                f"a divisor of batch_size = {self.batch_size}",
            ),
        ]
        for holds, name, allowed in requirements:
            if not holds:
                raise TrainingConfigError(
                    f"{name} is {getattr(self, name)!r}: it must be {allowed}"
                )

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step is trained on."""
        return self.batch_size * self.context

    def to_dict(self) -> dict[str, int | float | str]:
        """Return every field, in the order of definition, as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Return the config with these fields.

        Raises:
            TrainingConfigError: a key is unknown, a required one is missing, or a value is invalid.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise TrainingConfigError(
                f"unknown training setting {unknown[0]!r}: allowed are {', '.join(known)}"
            )
        missing = [
            name for name in ("steps", "batch_size", "context", "lr_peak") if name not in values
        ]
        if missing:
            raise TrainingConfigError(f"the training setting {missing[0]!r} is missing")
        # The values are checked by __post_init__, which refuses every wrong type.
        return cls(**values)  # type: ignore[arg-type]  # untrusted values, checked in __post_init__


def _check_integer(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise TrainingConfigError(f"{name} is {value!r}: it must be an integer >= {minimum}")


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TrainingConfigError(f"{name} is {value!r}: it must be a finite number >= 0")
