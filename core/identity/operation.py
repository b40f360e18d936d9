"""What one call of a torch operation is: a name, arguments by name, and which of them it writes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

# Anything that an operation of torch takes: tensors, numbers, dtypes, lists of them, None.
Argument = object

# Where a result lies, and how it is made, is not what it is. Its dtype is noted with the result.
IGNORED_ARGUMENTS = frozenset(
    {"dtype", "device", "layout", "pin_memory", "memory_format", "non_blocking", "generator"}
)
REINTERPRETATIONS = frozenset({"view_as_real", "view_as_complex"})
UNMARKED_VIEWS = frozenset({"_unsafe_view"})
UNMARKED_POINTWISE = frozenset({"_to_copy"})
DROPOUT_ARGUMENTS = ("dropout_p", "dropout", "p")
TRAINING_ARGUMENTS = ("train", "training")


class _Parameter(NamedTuple):
    """One argument that an operation takes."""

    name: str
    default: Argument
    is_number: bool
    is_written: bool
    is_ignored: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known of an operation before it is called.

    Attributes:
        name: without its overload, and without the trailing _ of the in-place form.
        parameters: what it takes, in order.
        is_view: the result is another view of an argument's memory, of the same numbers.
        is_reinterpretation: the result is a view that reads the memory as other numbers.
        is_pointwise: each number of the result depends on the numbers at its place alone.
        may_draw: it may draw random numbers.
    """

    name: str
    parameters: tuple[_Parameter, ...]
    is_view: bool
    is_reinterpretation: bool
    is_pointwise: bool
    may_draw: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation.

    Attributes:
        operation: what is called.
        arguments: by the schema's names, defaults filled in, without those that only receive.
        tensors: the tensors among the arguments, in order.
        written: the tensors that it overwrites, by argument name.
    """

    operation: Operation
    arguments: dict[str, Argument]
    tensors: list[Tensor]
    written: dict[str, Tensor]

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.operation.name

    @property
    def is_random(self) -> bool:
        """It draws random numbers: it may, and is not told to drop nothing or not to train."""
        arguments = self.arguments
        return (
            self.operation.may_draw
            and all(arguments.get(name, 1.0) != 0.0 for name in DROPOUT_ARGUMENTS)
            and all(arguments.get(name, True) is not False for name in TRAINING_ARGUMENTS)
        )


def read_operation(overload: OpOverload) -> Operation:
    """Name an operation, so that its in-place, `out=` and plain forms agree."""
    parameters = []
    for argument in overload._schema.arguments:
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        parameters.append(
            _Parameter(
                name=argument.name,
                default=argument.default_value if argument.has_default_value() else None,
                is_number=str(argument.type) in {"number", "Optional[number]"},
                is_written=is_written,
                is_ignored=argument.name in IGNORED_ARGUMENTS
                or (is_written and argument.kwarg_only),
            )
        )
    namespace, _, name = overload._schema.name.partition("::")
    if any(p.is_written for p in parameters):
        name = name.removesuffix("_")
    tags = overload.tags
    is_view = overload.is_view or name in UNMARKED_VIEWS or torch.Tag.inplace_view in tags
    reinterprets = name in REINTERPRETATIONS or (name, overload._overloadname) == ("view", "dtype")
    return Operation(
        name=name if namespace == "aten" else f"{namespace}::{name}",
        parameters=tuple(parameters),
        is_view=is_view and not reinterprets,
        is_reinterpretation=reinterprets,
        is_pointwise=torch.Tag.pointwise in tags or name in UNMARKED_POINTWISE,
        may_draw=torch.Tag.nondeterministic_seeded in tags,
    )


def read_call(
    operation: Operation, args: tuple[Argument, ...], kwargs: Mapping[str, Argument]
) -> Call:
    """Give each argument its name."""
    arguments: dict[str, Argument] = {}
    written: dict[str, Tensor] = {}
    for position, parameter in enumerate(operation.parameters):
        if position < len(args):
            value = args[position]
        else:
            value = kwargs.get(parameter.name, parameter.default)
        if parameter.is_written and isinstance(value, Tensor):
            written[parameter.name] = value
        if not parameter.is_ignored:
            if parameter.is_number and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)  # x * 2 and x * 2.0 are the same.
            arguments[parameter.name] = value
    return Call(operation, arguments, list(tensors_in(list(arguments.values()))), written)


def describe(name: str, arguments: Mapping[str, Argument], results: list[Tensor]) -> str:
    """Write an operation as text: arguments that are not tensors, and the dtypes of the results."""
    listed = " ".join(f"{key}={_text(value)}" for key, value in arguments.items())
    return f"{name} {listed} -> {' '.join(str(r.dtype) for r in results)}"


def tensors_in(value: Argument) -> Iterator[Tensor]:
    """Yield the tensors in a value or in lists of values."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def _text(value: Argument) -> str:
    if isinstance(value, Tensor):
        return "%"
    if isinstance(value, list | tuple):
        return f"[{' '.join(_text(item) for item in value)}]"
    return repr(value)
