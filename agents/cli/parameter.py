"""How a command reads its words: typer's own way, without pydantic for words that need none.

Typer builds a pydantic adapter for each parameter that has a value. Importing pydantic costs a
verb of the queue as much as all the rest of it, and a text or a whole number comes out of the
adapter as it went in. So these pass at once, and all else (other types, numbers out of range, words
that are no number) goes to typer, which has the only rules and the only messages.
"""

from typing import Any, Self

import typer.core

MAX_DIGITS = 18


class Reader:
    """The conversion of one parameter, in the place of typer's own, which it falls back to."""

    def __init__(self, parameter: Any) -> None:  # noqa: ANN401  # typer's class is private
        descriptor = parameter.type_descriptor
        self._info = descriptor.parameter_info
        self._kind = descriptor.annotation if self._info.parser is None else None
        self._build = parameter.get_runtime_param

    def __call__(self) -> Self:
        """Be the result as well as the function: typer asks the parameter for it."""
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401  # as typer calls it
        """Return the parameter's value for what stood on the command line, or its default."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if self._kind is str and isinstance(value, str):
            return value
        if self._kind == list[str] and isinstance(value, list | tuple):
            return list(value)
        if self._kind is int:
            number = _whole_number(value)
            if number is not None and self._is_in_range(number):
                return number
        return self._build().coerce(value, param=param, ctx=ctx)

    def _is_in_range(self, number: int) -> bool:
        low, high = self._info.min, self._info.max
        return (low is None or low <= number) and (high is None or number <= high)


def _whole_number(value: object) -> int | None:
    """Return the number of plain digits; None for whatever else may be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    is_plain = isinstance(value, str) and value.isascii() and value.isdigit()
    return int(str(value)) if is_plain and len(str(value)) <= MAX_DIGITS else None


def _lighten(parameters: list[Any]) -> list[Any]:
    """Give each parameter its reader, once."""
    for parameter in parameters:
        if not isinstance(parameter.get_runtime_param, Reader):
            parameter.get_runtime_param = Reader(parameter)
    return parameters


class Command(typer.core.TyperCommand):
    """A command whose plain words are read without pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  # as typer has it
        """Return the parameters, `--help` among them."""
        return _lighten(super().get_params(ctx))


class Group(typer.core.TyperGroup):
    """A group whose own options are read so."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  # as typer has it
        """Return the parameters, `--help` among them."""
        return _lighten(super().get_params(ctx))
