"""What a component says about itself: ports, options, exact formulas, and where its code is.

The letters of a port's shape: B batch, T time, D model width, V vocabulary.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict

Category = Literal["mixer", "channel", "norm", "position"]
PortDtype = Literal["float", "int64"]
Argument = int | float | bool | str
AXES = ("B", "T", "D", "V")


@dataclass(frozen=True, slots=True)
class Port:
    """One end of a component: the shape and the kind of number that passes through it.

    Args:
        shape: axis letters parted by spaces, such as "B T D".
        dtype: "float" is any floating type, the same on both ends; "int64" is token ids.
    """

    shape: str
    dtype: PortDtype = "float"

    def __post_init__(self) -> None:
        unknown = [axis for axis in self.axes if axis not in AXES]
        if unknown or not self.axes:
            raise ValueError(f"port shape {self.shape!r}: axes are {', '.join(AXES)}")

    @property
    def axes(self) -> tuple[str, ...]:
        """The shape's letters in order."""
        return tuple(self.shape.split())

    def fits(self, other: "Port") -> bool:
        """Say whether what leaves this port can enter the other one."""
        return self.axes == other.axes and self.dtype == other.dtype

    def problems(self, shape: Sequence[int], dtype: str, sizes: Mapping[str, int]) -> list[str]:
        """Return what is wrong with a tensor of this shape and dtype at this port.

        Args:
            shape: the tensor's sizes.
            dtype: the tensor's dtype as text, such as "torch.float32".
            sizes: sizes that are known, by axis letter.
        """
        if len(shape) != len(self.axes):
            return [f"rank {len(shape)}, expected {len(self.axes)} ({self.shape})"]
        found = [
            f"axis {axis} is {size}, expected {sizes[axis]}"
            for axis, size in zip(self.axes, shape, strict=True)
            if axis in sizes and sizes[axis] != size
        ]
        expected = ("float", "bfloat") if self.dtype == "float" else ("int64",)
        if not dtype.removeprefix("torch.").startswith(expected):
            found.append(f"dtype {dtype}, expected {self.dtype}")
        return found


class Surroundings(Protocol):
    """What a component may know of the architecture around it. An ArchSpec is one."""

    @property
    def position(self) -> str:
        """How positions enter: "rope", "learned" or "none"."""

    @property
    def max_seq_len(self) -> int:
        """The longest sequence in tokens."""


class BlockOptions(BaseModel):
    """The options of a component: bounded fields with defaults, nothing else allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def resolved(self, d_model: int) -> Self:
        """Return the options with every automatic value made explicit for this width.

        Idempotent: two options that build the same block are equal afterwards.
        """
        del d_model
        return self

    def problems(self, d_model: int, surroundings: Surroundings) -> list[str]:
        """Return why these options can not be built at this width; each says what is allowed."""
        del d_model, surroundings
        return []


class StateBytes(NamedTuple):
    """Bytes that one sequence's state takes: fixed (recurrent) and growing with context (kv)."""

    recurrent: int
    kv: int


OptionsT = TypeVar("OptionsT", bound=BlockOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component(Generic[OptionsT]):
    """A component's record: everything about it that is known without building it.

    Args:
        factory: "module:Class" of the executable code.
        arguments: options, d_model, surroundings -> keyword arguments of the factory.
        count_parameters: options, d_model -> exact number of parameters.
        flops_per_token: options, d_model, context -> forward FLOPs of one token, averaged over
            the positions of a sequence of `context` tokens. A multiply-add counts as two;
            element-wise work is counted only inside recurrences.
        state_bytes: options, d_model, context, bytes_per_value -> state of one sequence.
        activation_values: options, d_model -> values kept for the backward pass, per token
            (an estimate).
        source: the paper, with its arXiv number where it has one.
        causal: output t depends on inputs 0..t only.
        stateful: has a state that steps through time.
    """

    name: str
    category: Category
    description: str
    input_port: Port
    output_port: Port
    options: type[OptionsT]
    factory: str
    arguments: Callable[[OptionsT, int, Surroundings], dict[str, Argument]]
    count_parameters: Callable[[OptionsT, int], int]
    flops_per_token: Callable[[OptionsT, int, int], float]
    state_bytes: Callable[[OptionsT, int, int, int], StateBytes]
    activation_values: Callable[[OptionsT, int], int]
    source: str
    year: int
    time_complexity: str
    space_complexity: str
    causal: bool
    stateful: bool

    def load_factory(self) -> Callable[..., object]:
        """Import the component's code and return its class (or function)."""
        module_name, _, attribute = self.factory.partition(":")
        factory: Callable[..., object] = getattr(importlib.import_module(module_name), attribute)
        return factory


def no_state(options: BlockOptions, d_model: int, context: int, bytes_per_value: int) -> StateBytes:
    """Return zero bytes: the state of a component that looks at one token only."""
    del options, d_model, context, bytes_per_value
    return StateBytes(0, 0)


def width_only(
    options: BlockOptions, d_model: int, surroundings: Surroundings
) -> dict[str, Argument]:
    """Return the constructor arguments of a component that takes `d_model` alone."""
    del options, surroundings
    return {"d_model": d_model}
